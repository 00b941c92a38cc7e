import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** Makes a folder's entries outlive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * Makes a folder with those above it that are missing, all of which outlive a power cut.
 * @param mode of those that are made. @default 0o777, less what the umask takes
 */
export async function makeFolder(path: string, mode?: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  const highest = dirname(resolve(first));
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    await syncFolder(folder);
    if (folder === highest || folder === dirname(folder)) return;
  }
}

export interface ReplaceOptions {
  /** Permissions of the file. @default 0o644 */
  readonly mode?: number;
  /** Done when the new bytes are on the disk and not yet in their place: where it fails, nothing has changed. */
  readonly before?: () => Promise<void>;
}

/**
 * Writes a file as a whole, into a folder that is there: readers, and who comes after a power cut, see the old
 * bytes or the new ones, and once this has resolved the new ones alone.
 * @throws what the file system throws, and what `before` does
 */
export async function replaceFile(
  path: string,
  text: string,
  { mode = 0o644, before }: ReplaceOptions = {},
): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    // One that a crash has left may be open to others.
    await rm(temporary, { force: true });
    const file = await open(temporary, "wx", mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await before?.();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Removes a file, if it is there, so that it does not come back with a power cut. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncFolder(dirname(path)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  });
}
