import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, digestAlgorithm, digestHex } from "@shoal/oci";

/** What rotted is kept so long, for whoever looks into it. Milliseconds. */
const KEEP_MS = 7 * 24 * 3600 * 1000;

/** Files that are no longer what their names say. */
export interface Quarantine {
  /** What they take of the disk. */
  readonly bytes: number;
  /** Counts what is there, and removes what has been there for a week. */
  look(nowMs: number): Promise<void>;
  /** Moves a blob's file here. */
  take(digest: Digest, path: string, nowMs: number): Promise<void>;
  /** Removes all: nothing here is worth a blob that is wanted. @returns whether there was anything */
  clear(): Promise<boolean>;
}

export function createQuarantine(folder: string): Quarantine {
  let bytes = 0;

  async function list(): Promise<{ path: string; sizeBytes: number; sinceMs: number }[]> {
    const names = await readdir(folder).catch(() => []);
    return await Promise.all(
      names.map(async (name) => {
        const path = join(folder, name);
        const sizeBytes = (await stat(path).catch(() => undefined))?.size ?? 0;
        // The name ends with the time; another's file is kept from when it is first seen.
        return { path, sizeBytes, sinceMs: Number(/\.(\d+)$/.exec(name)?.[1] ?? Number.NaN) };
      }),
    );
  }

  return {
    get bytes() {
      return bytes;
    },
    async look(nowMs) {
      let left = 0;
      for (const { path, sizeBytes, sinceMs } of await list())
        if (nowMs - sinceMs > KEEP_MS) await rm(path, { force: true });
        else left += sizeBytes;
      bytes = left;
    },
    async take(digest, path, nowMs) {
      await mkdir(folder, { recursive: true });
      const { size } = await stat(path);
      const name = `${digestAlgorithm(digest)}-${digestHex(digest)}.${Math.round(nowMs)}`;
      await rename(path, join(folder, name));
      bytes += size;
    },
    async clear() {
      const found = await list();
      for (const { path } of found) await rm(path, { force: true });
      bytes = 0;
      return found.length > 0;
    },
  };
}
