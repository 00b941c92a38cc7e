import type { FileHandle } from "node:fs/promises";
import { CodedError } from "@shoal/runtime";

/** What an error of the file system means for the store. Errors that have a code of Shoal's pass. */
export function storeError(cause: unknown, path: string): CodedError {
  if (cause instanceof CodedError) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  const details = { path, errno: code };
  switch (code ?? "") {
    case "ENOSPC":
    case "EDQUOT":
      return new CodedError(
        "ERR_STORE_FULL",
        `no space is left for ${path}; free some disk space, or give the store another disk with the setting state`,
        { cause, details },
      );
    case "EROFS":
      return new CodedError(
        "ERR_STORE_READ_ONLY",
        `${path} is on a file system that is read-only; mount it for writing, or set state to another folder`,
        { cause, details },
      );
    case "EACCES":
    case "EPERM":
      return new CodedError(
        "ERR_STORE_PERMISSION",
        `${path} belongs to another user; give it to the daemon's user (chown -R), or set state to a folder of its own`,
        { cause, details },
      );
    default:
      return new CodedError(
        "ERR_STORE_IO",
        `${path} can't be read or written (${code ?? String(cause)}); look at the disk and the system's log`,
        { cause, details },
      );
  }
}

/** Runs file work and translates what it throws. */
export async function withStoreErrors<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storeError(error, path);
  }
}

/** Writes all of `bytes` at `position`: near the end of a disk or a quota one call may write a part of them. */
export async function writeFully(
  file: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    if (bytesWritten === 0) throw Object.assign(new Error("no byte was written"), { code: "EIO" });
    done += bytesWritten;
  }
}
