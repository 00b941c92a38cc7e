import { randomUUID } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { storeError } from "./store-io.ts";

/**
 * Writes a file of a name of its own into a folder and syncs it, for `use` to rename or remove it.
 * @param puts what is being written there, by its path
 * @throws what storeError makes of a failing disk; nothing is left then
 */
export async function writeTemporary(
  folder: string,
  puts: Set<string>,
  bytes: Uint8Array,
  use: (path: string) => Promise<void>,
): Promise<void> {
  const path = join(folder, `put-${randomUUID()}`);
  puts.add(path);
  try {
    const file = await open(path, "w", 0o644);
    try {
      await file.writeFile(bytes);
      await file.datasync();
    } finally {
      await file.close();
    }
    await use(path);
  } catch (error) {
    await rm(path, { force: true }).catch(() => undefined);
    throw storeError(error, path);
  } finally {
    puts.delete(path);
  }
}
