import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CodedError, hasCode, makeFolder, removeFile, replaceFile } from "@shoal/runtime";
import { parseSiteToken, type SiteToken } from "@shoal/network";

/** Reads the site's token; `undefined` when there is none yet. @throws ERR_TOKEN_INVALID, ERR_TOKEN_FILE */
export async function readTokenFile(path: string): Promise<SiteToken | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw fileError(path, "read", cause);
  }
  try {
    return parseSiteToken(text);
  } catch (cause) {
    if (!hasCode(cause, "ERR_TOKEN_INVALID")) throw cause;
    throw new CodedError(cause.code, `${path}: ${cause.message}`, { cause, details: { path } });
  }
}

/** Whether others than its owner and its group can read a file that is there. @throws ERR_TOKEN_FILE */
export async function isForEveryUser(path: string): Promise<boolean> {
  try {
    return ((await stat(path)).mode & 0o004) !== 0;
  } catch (cause) {
    throw fileError(path, "read", cause);
  }
}

/**
 * Keeps the token in a file that only its owner reads.
 * @param enter done when the token is on disk and not yet in its place: where it fails, nothing has changed
 * @throws ERR_TOKEN_FILE, and what `enter` throws
 */
export async function writeTokenFile(
  path: string,
  token: SiteToken,
  enter: () => Promise<void> = async () => undefined,
): Promise<void> {
  await writing(path, async () => {
    await makeFolder(dirname(path));
    await replaceFile(path, `${token}\n`, { mode: 0o600, before: enter });
  });
}

/** Forgets the token: this machine belongs to its site by a certificate. @throws ERR_TOKEN_FILE */
export async function removeTokenFile(path: string): Promise<void> {
  await writing(path, async () => await removeFile(path));
}

async function writing(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    throw cause instanceof CodedError ? cause : fileError(path, "written", cause);
  }
}

function fileError(path: string, verb: string, cause: unknown): CodedError<"ERR_TOKEN_FILE"> {
  const { code } = cause as NodeJS.ErrnoException;
  return new CodedError(
    "ERR_TOKEN_FILE",
    `the site's token file ${path} can't be ${verb} (${code}); see that the daemon's user owns it, or set site.tokenFile`,
    { cause, details: { path } },
  );
}
