import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CodedError } from "@shoal/runtime";

/** What a file of the site's is, for messages. */
export interface PrivateFile {
  readonly path: string;
  readonly what: string;
  /** What to do when it is damaged or can't be used. */
  readonly remedy: string;
}

/** The JSON in a file that only its owner reads; `undefined` when there is none. @throws ERR_SITE_FILE */
export async function readPrivateFile(file: PrivateFile): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file.path, "utf8");
    const { mode } = await stat(file.path);
    if ((mode & 0o077) !== 0) throw faulty(file, `is open to other users (chmod 600 ${file.path})`);
  } catch (cause) {
    if (cause instanceof CodedError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw faulty(file, `can't be read (${code})`, cause);
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw faulty(file, "is damaged", cause);
  }
}

/**
 * Writes it anew: whole or not at all, on disk when this resolves, and read by its owner alone. What is not
 * flushed with its folder is lost with the machine's power.
 * @throws ERR_SITE_FILE
 */
export async function writePrivateFile(file: PrivateFile, value: unknown): Promise<void> {
  const temporary = `${file.path}.tmp`;
  try {
    await mkdir(dirname(file.path), { recursive: true, mode: 0o700 });
    await rm(temporary, { force: true });
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(value)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file.path);
    await flushFolder(file.path);
  } catch (cause) {
    throw faulty(file, `can't be written (${(cause as NodeJS.ErrnoException).code})`, cause);
  }
}

export async function removePrivateFile(file: PrivateFile): Promise<void> {
  try {
    await rm(file.path, { force: true });
    await flushFolder(file.path);
  } catch (cause) {
    throw faulty(file, `can't be removed (${(cause as NodeJS.ErrnoException).code})`, cause);
  }
}

async function flushFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export function faulty(
  { path, what, remedy }: PrivateFile,
  fault: string,
  cause?: unknown,
): CodedError<"ERR_SITE_FILE"> {
  return new CodedError("ERR_SITE_FILE", `${what} ${path} ${fault}; ${remedy}`, {
    cause,
    details: { path },
  });
}
