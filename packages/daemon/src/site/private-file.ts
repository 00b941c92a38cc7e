import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CodedError, makeFolder, removeFile, replaceFile } from "@shoal/runtime";

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
 * Writes it anew: whole or not at all, on disk when this resolves, and read by its owner alone.
 * @throws ERR_SITE_FILE
 */
export async function writePrivateFile(file: PrivateFile, value: unknown): Promise<void> {
  try {
    await makeFolder(dirname(file.path), 0o700);
    await replaceFile(file.path, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  } catch (cause) {
    throw faulty(file, `can't be written (${(cause as NodeJS.ErrnoException).code})`, cause);
  }
}

export async function removePrivateFile(file: PrivateFile): Promise<void> {
  try {
    await removeFile(file.path);
  } catch (cause) {
    throw faulty(file, `can't be removed (${(cause as NodeJS.ErrnoException).code})`, cause);
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
