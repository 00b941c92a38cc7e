import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  AUDIT_FILE,
  AUDIT_HEAD_FILE,
  type AuditHead,
  auditFilesIn,
  CodedError,
  hasCode,
  MAX_AUDIT_LINE_BYTES,
  parseAuditHead,
  parseAuditRecord,
} from "@shoal/api";

/** A daemon that rotates its log while it is read makes one begin again, so often at most. */
const TRIES = 3;

/** An audit log on disk, as it was at one moment. */
export interface AuditFiles {
  /** The oldest first. */
  readonly files: readonly string[];
  /** What the log must reach, where its newest file is among them. */
  readonly head: AuditHead | undefined;
}

/** One line of a file, without its newline; `isWhole` is false for bytes after the last newline. */
export interface AuditLine {
  readonly file: string;
  readonly line: number;
  readonly bytes: Uint8Array;
  readonly isWhole: boolean;
  readonly isNewest: boolean;
}

/**
 * Calls `read` with the files that the paths name, folders standing for the log in them, in their order; again
 * from the start where the log was rotated meanwhile.
 * @throws ERR_AUDIT_FILE
 */
export async function readAudit<T>(
  paths: readonly string[],
  read: (log: AuditFiles) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const before = await inodesOf(paths);
    try {
      const found = await read(await filesOf(paths));
      if (tries === TRIES || (await inodesOf(paths)) === before) return found;
    } catch (error) {
      const isGone = hasCode(error, "ERR_AUDIT_FILE") && (await inodesOf(paths)) !== before;
      if (tries === TRIES || !isGone) throw error;
    }
  }
}

async function filesOf(paths: readonly string[]): Promise<AuditFiles> {
  // The head first: what is written in between only makes the log longer.
  const heads = await Promise.all(paths.map(headBeside));
  const named = (await Promise.all(paths.map(expand))).flat();
  const seqs = new Map(await Promise.all(named.map(async (f) => [f, await firstSeq(f)] as const)));
  const files = [...new Set(named)].toSorted((a, b) => seqs.get(a)! - seqs.get(b)!);
  return { files, head: heads.find((head) => head !== undefined) };
}

/** The head of a log whose folder or newest file is named. */
async function headBeside(path: string): Promise<AuditHead | undefined> {
  const folder = basename(path) === AUDIT_FILE ? dirname(path) : path;
  const text = await readFile(join(folder, AUDIT_HEAD_FILE), "latin1").catch(() => "");
  return parseAuditHead(text);
}

async function expand(path: string): Promise<string[]> {
  const isFolder = await guarded(path, async () => (await stat(path)).isDirectory());
  if (!isFolder) return [path];
  const names = auditFilesIn(await guarded(path, async () => await readdir(path)));
  if (names.length === 0)
    throw new CodedError("ERR_AUDIT_FILE", `there is no audit log in ${path}; name its files`);
  return names.map((name) => join(path, name));
}

/** By what files are put in order; one that does not begin with a record goes last, where it shows. */
async function firstSeq(path: string): Promise<number> {
  for await (const { bytes } of linesOf({ files: [path], head: undefined })) {
    try {
      return parseAuditRecord(bytes).seq;
    } catch {
      return Number.MAX_SAFE_INTEGER;
    }
  }
  return Number.MAX_SAFE_INTEGER;
}

async function inodesOf(paths: readonly string[]): Promise<string> {
  const files = (await Promise.all(paths.map(async (p) => await expand(p).catch(() => [])))).flat();
  const inodes = await Promise.all(
    files.map(async (path) => [path, (await stat(path).catch(() => undefined))?.ino]),
  );
  return JSON.stringify(inodes);
}

/** The lines of all files. One that is too long to be a record comes in parts, none of which is. */
export async function* linesOf({ files }: AuditFiles): AsyncGenerator<AuditLine> {
  for (const [index, file] of files.entries()) {
    const isNewest = index === files.length - 1;
    let rest: Buffer = Buffer.alloc(0);
    let line = 0;
    for await (const chunk of chunksOf(file)) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let from = 0;
      for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a, from)) {
        line += 1;
        yield { file, line, bytes: rest.subarray(from, end), isWhole: true, isNewest };
        from = end + 1;
      }
      rest = rest.subarray(from);
      if (rest.length > 2 * MAX_AUDIT_LINE_BYTES) {
        line += 1;
        yield { file, line, bytes: rest, isWhole: true, isNewest };
        rest = Buffer.alloc(0);
      }
    }
    if (rest.length > 0) yield { file, line: line + 1, bytes: rest, isWhole: false, isNewest };
  }
}

async function* chunksOf(file: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(file) as AsyncIterable<Buffer>;
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): CodedError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === undefined) throw cause;
  const remedy =
    code === "EACCES" ? "it is for root and the daemon's user alone" : "name a file that is there";
  return new CodedError("ERR_AUDIT_FILE", `${path} can't be read (${code}); ${remedy}`, { cause });
}
