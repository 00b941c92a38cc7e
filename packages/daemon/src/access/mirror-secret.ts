import { createHash, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { CodedError, type Logger } from "@shoal/runtime";

/** The header that carries the mirror's secret, as containerd's hosts.toml can set it. */
const SECRET_HEADER = "shoal-secret";

/** Whether a request's headers carry the secret. Takes as long whatever they carry. */
export type SecretCheck = (headers: IncomingHttpHeaders) => boolean;

/** Reads the secret. @throws ERR_MIRROR_SECRET */
export async function loadMirrorSecret(path: string, logger: Logger): Promise<SecretCheck> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
    if (((await stat(path)).mode & 0o004) !== 0)
      logger.warn({ file: path }, "every user can read the mirror's secret; chmod 600 it");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new CodedError(
      "ERR_MIRROR_SECRET",
      `the mirror's secret can't be read from ${path} (${code}); put it there for the daemon's user, or leave mirror.secretFile out`,
      { cause, details: { path } },
    );
  }
  if (!/^[\x21-\x7e]{16,512}$/.test(text))
    throw new CodedError(
      "ERR_MIRROR_SECRET",
      `${path} holds no secret of 16 to 512 characters in one word; make one with: openssl rand -hex 32`,
      { details: { path } },
    );
  const secret = hash(text);
  return (headers) => {
    const told = headers[SECRET_HEADER];
    // Of equal length whatever was told.
    return timingSafeEqual(hash(typeof told === "string" ? told : ""), secret);
  };
}

function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
