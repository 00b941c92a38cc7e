import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "@shoal/oci";
import type { Layout } from "./layout.ts";
import { digestOfIngest } from "./layout.ts";
import type { Room } from "./room.ts";
import { writeTemporary } from "./temporary-file.ts";

/** The files of what is arriving, and of what nobody goes on with. */
export interface IngestFolder {
  /**
   * Writes a small file beside the ingests and syncs it, for `use` to rename or remove it.
   * @throws what storeError makes of a failing disk; nothing is left then
   */
  write(bytes: Uint8Array, use: (path: string) => Promise<void>): Promise<void>;
  /** Writes so many bytes and removes them. @throws as {@link write} */
  tryWriting(sizeBytes: number): Promise<void>;
  /** Counts what was left, and removes what a killed daemon was writing. */
  look(): Promise<void>;
  /** Removes an ingest that nobody has open. @returns bytes won */
  remove(digest: Digest): Promise<number>;
  /** Resolves when nothing of the blob is being removed. */
  settled(digest: Digest): Promise<void>;
}

export function createIngestFolder(layout: Layout, room: Room): IngestFolder {
  const { ingestFolder } = layout;
  /** Files that are being written. */
  const puts = new Set<string>();
  const removing = new Map<Digest, Promise<void>>();

  async function erase(digest: Digest): Promise<void> {
    room.leftovers.delete(digest);
    const work = (async () => {
      // Data without a journal is counted and removed; a journal without data would promise pieces.
      for (const end of [".journal", ".journal.tmp", ".data"] as const)
        await rm(layout.ingest(digest, end), { force: true });
    })().finally(() => removing.delete(digest));
    removing.set(digest, work);
    await work;
  }

  async function write(bytes: Uint8Array, use: (path: string) => Promise<void>): Promise<void> {
    await writeTemporary(ingestFolder, puts, bytes, use);
  }

  return {
    write,
    tryWriting: async (sizeBytes) =>
      await write(new Uint8Array(sizeBytes), async (path) => await rm(path)),
    async look() {
      const journals = new Set<Digest>();
      const data = new Set<Digest>();
      for (const name of await readdir(ingestFolder)) {
        const path = join(ingestFolder, name);
        const digest = digestOfIngest(name);
        if (digest !== undefined && room.open.has(digest)) continue;
        if (digest !== undefined && !name.endsWith(".data")) journals.add(digest);
        else if (digest !== undefined) {
          const found = await stat(path).catch(() => undefined);
          if (found === undefined || room.open.has(digest)) continue;
          data.add(digest);
          room.leftovers.set(digest, { sizeBytes: found.blocks * 512, usedMs: found.mtimeMs });
        } else if (!puts.has(path)) await rm(path, { force: true });
      }
      for (const digest of room.leftovers.keys())
        if (!data.has(digest)) room.leftovers.delete(digest);
      // The journal of a blob that was committed just before a kill.
      for (const digest of journals)
        if (!data.has(digest) && !room.open.has(digest)) await erase(digest);
    },
    async remove(digest) {
      const left = room.leftovers.get(digest);
      if (left === undefined || room.open.has(digest)) return 0;
      await erase(digest);
      return left.sizeBytes;
    },
    async settled(digest) {
      await removing.get(digest)?.catch(() => undefined);
    },
  };
}
