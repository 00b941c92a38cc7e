import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  AUDIT_FILE,
  AUDIT_HEAD_FILE,
  type AuditFields,
  type AuditHead,
  auditFileNumber,
  auditHash,
  formatAuditHead,
  formatAuditRecord,
} from "@shoal/api";
import { continueAudit } from "./continuation.ts";

/** What is to become a record. */
export interface AuditEntry {
  readonly time: string;
  readonly kind: string;
  readonly fields: AuditFields;
}

export interface AuditFileInit {
  readonly folder: string;
  /** A file that would grow beyond it is rotated away. */
  readonly maxBytes: number;
  /** Files that are kept, the current one among them. */
  readonly files: number;
  /** Milliseconds, wall clock. */
  readonly now: () => number;
}

/** The chain of records on disk. One call at a time; what fails can be called again. */
export interface AuditFile extends AsyncDisposable {
  readonly seq: number;
  /** Appends all of the entries, or none. @returns whether the file before was rotated away */
  append(entries: readonly AuditEntry[]): Promise<boolean>;
  /** Makes durable what was appended, and then says so in the head's file. */
  sync(): Promise<void>;
}

interface Opened {
  readonly handle: FileHandle;
  readonly inode: number;
  sizeBytes: number;
  /** Whether bytes beyond `sizeBytes` may be there, of a write that failed. */
  isDirty: boolean;
}

/** Opens the log lazily: the first append does, and each after a failure or a change from outside. */
export function createAuditFile(init: AuditFileInit): AuditFile {
  const { folder } = init;
  const path = join(folder, AUDIT_FILE);
  let position: AuditHead | undefined;
  let opened: Opened | undefined;
  let head: FileHandle | undefined;
  /** What is to be told of how the log was found, until it is written. */
  let notices: AuditEntry[] = [];

  function noticeOf(kind: string, fields: AuditFields): AuditEntry {
    return { time: new Date(init.now()).toISOString(), kind, fields };
  }

  async function openCurrent(sizeBytes?: number): Promise<Opened> {
    const handle = await open(path, "a", 0o600);
    try {
      if (sizeBytes !== undefined) await handle.truncate(sizeBytes);
      const { ino, size } = await handle.stat();
      opened = { handle, inode: ino, sizeBytes: size, isDirty: false };
      return opened;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Goes on where the log ends. */
  async function resume(): Promise<void> {
    await closeCurrent();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const found = await continueAudit(folder, position);
    position = found.position;
    await openCurrent(found.keptBytes);
    notices = [
      ...notices,
      ...(found.tornBytes === 0 ? [] : [noticeOf("torn", { bytes: found.tornBytes })]),
      ...(found.lost === undefined ? [] : [noticeOf("lost", { ...found.lost })]),
    ];
  }

  /** Whether the file is as this process has left it. */
  async function isOurs({ inode, sizeBytes, isDirty }: Opened): Promise<boolean> {
    try {
      const found = await stat(path);
      return found.ino === inode && (isDirty || found.size === sizeBytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
  }

  async function closeCurrent(): Promise<void> {
    const closing = opened;
    opened = undefined;
    await closing?.handle.close();
  }

  async function rotate(): Promise<void> {
    await sync();
    await closeCurrent();
    const rotated = (await readdir(folder))
      .map((name) => auditFileNumber(name) ?? 0)
      .filter((number) => number > 0)
      .toSorted((a, b) => b - a);
    for (const number of rotated)
      if (number + 1 >= init.files) await rm(`${path}.${number}`, { force: true });
      else await rename(`${path}.${number}`, `${path}.${number + 1}`);
    if (init.files > 1) await rename(path, `${path}.1`);
    else await rm(path);
    await openCurrent();
  }

  function linesOf(entries: readonly AuditEntry[], from: AuditHead): [Buffer, AuditHead] {
    let at = from;
    const lines = entries.map((entry) => {
      const line = formatAuditRecord({ ...entry, seq: at.seq + 1, previous: at.hash });
      at = { seq: at.seq + 1, hash: auditHash(line) };
      return line;
    });
    return [Buffer.from(lines.map((line) => `${line}\n`).join("")), at];
  }

  async function write(file: Opened, bytes: Buffer): Promise<void> {
    if (file.isDirty) await file.handle.truncate(file.sizeBytes);
    file.isDirty = true;
    for (let at = 0; at < bytes.length; )
      at += (await file.handle.write(bytes, at, bytes.length - at)).bytesWritten;
    file.isDirty = false;
    file.sizeBytes += bytes.length;
  }

  async function sync(): Promise<void> {
    if (opened === undefined || position === undefined || position.seq === 0) return;
    await opened.handle.datasync();
    // "r+" after "a": the first makes it, the second writes over it.
    if (head === undefined) {
      await (await open(join(folder, AUDIT_HEAD_FILE), "a", 0o600)).close();
      head = await open(join(folder, AUDIT_HEAD_FILE), "r+");
    }
    await head.write(formatAuditHead(position), 0);
  }

  return {
    get seq() {
      return position?.seq ?? 0;
    },
    async append(entries) {
      const isFresh = opened !== undefined && (await isOurs(opened));
      if (!isFresh) await resume();
      const [bytes, next] = linesOf([...notices, ...entries], position!);
      const isFull = opened!.sizeBytes > 0 && opened!.sizeBytes + bytes.length > init.maxBytes;
      if (isFull) await rotate();
      await write(opened!, bytes);
      position = next;
      notices = [];
      return isFull;
    },
    sync,
    async [Symbol.asyncDispose]() {
      await closeCurrent();
      await head?.close();
    },
  };
}
