import { type FileHandle, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  AUDIT_ROOT,
  type AuditHead,
  auditFilesIn,
  AUDIT_FILE,
  AUDIT_HEAD_FILE,
  auditHash,
  parseAuditHead,
  parseAuditRecord,
} from "@shoal/api";
import { CodedError, hasCode } from "@shoal/runtime";

/** The last record is looked for in so many bytes. */
const WINDOW_BYTES = 1024 * 1024;

/** Where the chain goes on. */
export interface Continuation {
  /** The newest record. */
  readonly position: AuditHead;
  /** Whole lines of the current file; what follows was torn by a crash. */
  readonly keptBytes: number;
  readonly tornBytes: number;
  /** Records that were written once, and are gone. */
  readonly lost?: { readonly from: number; readonly to: number };
}

interface Tail {
  readonly wholeBytes: number;
  readonly tornBytes: number;
  readonly last?: AuditHead;
}

/**
 * Finds out where the log in `folder` goes on: after its last record, or after the head where records are gone,
 * so that what is missing shows for ever.
 * @param known the newest record where it is known better than by the head's file
 * @throws ERR_AUDIT_FILE, and what the file system throws
 */
export async function continueAudit(folder: string, known?: AuditHead): Promise<Continuation> {
  const head = known ?? (await readHead(folder));
  const [current, ...older] = auditFilesIn(await readdir(folder)).toReversed();
  const isCurrent = current === AUDIT_FILE;
  const tail = isCurrent ? await readTail(join(folder, current)) : EMPTY;
  let last = tail.last;
  for (const file of isCurrent ? older : [current, ...older]) {
    if (last !== undefined || file === undefined) break;
    last = (await readTail(join(folder, file))).last;
  }
  const found = last ?? { seq: 0, hash: AUDIT_ROOT };
  const isBehind = head !== undefined && head.seq > found.seq;
  return {
    position: head !== undefined && head.seq >= found.seq ? head : found,
    keptBytes: tail.wholeBytes,
    tornBytes: tail.tornBytes,
    ...(isBehind ? { lost: { from: found.seq + 1, to: head.seq } } : {}),
  };
}

const EMPTY: Tail = { wholeBytes: 0, tornBytes: 0 };

async function readHead(folder: string): Promise<AuditHead | undefined> {
  try {
    return parseAuditHead(await readFile(join(folder, AUDIT_HEAD_FILE), "latin1"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function readTail(path: string): Promise<Tail> {
  const file = await open(path, "r");
  try {
    return await tailOf(file, path);
  } finally {
    await file.close();
  }
}

async function tailOf(file: FileHandle, path: string): Promise<Tail> {
  const { size } = await file.stat();
  const start = Math.max(0, size - WINDOW_BYTES);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
  const bytes = buffer.subarray(0, bytesRead);
  const wholeBytes = bytes.lastIndexOf(0x0a) + 1;
  if (wholeBytes === 0 && start > 0)
    throw new CodedError("ERR_AUDIT_FILE", `${path} is no audit log; move it away`, {
      details: { path },
    });
  const tail = { wholeBytes: start + wholeBytes, tornBytes: bytes.length - wholeBytes };
  // A line that is no record was written by a hand: the chain goes on from the record before.
  let end = wholeBytes - 1;
  while (end > 0) {
    const begin = bytes.lastIndexOf(0x0a, end - 1) + 1;
    const line = bytes.subarray(begin, end);
    const record = recordOf(line);
    if (record !== undefined) return { ...tail, last: { seq: record.seq, hash: auditHash(line) } };
    end = begin - 1;
  }
  return tail;
}

function recordOf(line: Uint8Array): ReturnType<typeof parseAuditRecord> | undefined {
  try {
    return parseAuditRecord(line);
  } catch (error) {
    if (hasCode(error, "ERR_AUDIT_RECORD")) return undefined;
    throw error;
  }
}
