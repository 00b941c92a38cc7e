import { CodedError } from "@shoal/runtime";
import { z } from "zod";
import type { Credential } from "./credential.ts";
import { isDockerHub } from "./settings.ts";

/** One login of an auth file. */
export interface AuthEntry {
  /** `host`, `host/namespace` or `host/namespace/repository`. */
  readonly scope: string;
  readonly credential: Credential;
}

export interface AuthFile {
  readonly entries: readonly AuthEntry[];
  /** The helper that holds a host's login, by host (`credHelpers`); an empty name is none at all. */
  readonly helpers: ReadonlyMap<string, string>;
  /** The helper that holds those of all other hosts (`credsStore`). */
  readonly store: string | undefined;
}

const AuthFileSchema = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: z.string().optional(),
        username: z.string().optional(),
        password: z.string().optional(),
        identitytoken: z.string().optional(),
      }),
    )
    .nullish(),
  credsStore: z.string().nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
});

/**
 * Reads `config.json` of Docker or `auth.json` of Podman.
 * @param name stands in messages, which never hold the content
 * @throws ERR_AUTH_FILE
 */
export function parseAuthFile(text: string, name: string): AuthFile {
  const refuse = (problem: string): CodedError =>
    new CodedError(
      "ERR_AUTH_FILE",
      `${name}: ${problem}; repair it, or log in again with docker login or podman login`,
      { details: { file: name } },
    );
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which holds passwords.
    throw refuse("it is not JSON");
  }
  const file = AuthFileSchema.safeParse(json);
  if (!file.success)
    throw refuse(`${file.error.issues[0]?.path.join(".") ?? ""} is not as it should be`);

  const entries: AuthEntry[] = [];
  for (const [key, login] of Object.entries(file.data.auths ?? {})) {
    let { username = "", password = "" } = login;
    if (login.auth !== undefined && login.auth !== "") {
      const decoded = Buffer.from(login.auth, "base64").toString("utf8");
      const colon = decoded.indexOf(":");
      if (colon < 0)
        throw refuse(`the login for ${JSON.stringify(key)} is not base64 of user:password`);
      username = decoded.slice(0, colon);
      // Some tools pad the password with NUL bytes; so does Docker's own reader expect.
      password = decoded.slice(colon + 1).replace(/\0+$/, "");
    }
    const scope = scopeOf(key);
    // Docker writes an empty entry for a login that its helper keeps.
    if (login.identitytoken !== undefined && login.identitytoken !== "")
      entries.push({
        scope,
        credential: { kind: "identity-token", username, token: login.identitytoken },
      });
    else if (username !== "" && password !== "")
      entries.push({ scope, credential: { kind: "basic", username, password } });
  }
  const { credsStore, credHelpers } = file.data;
  const helpers = Object.entries(credHelpers ?? {}).map(
    ([key, helper]) => [scopeOf(key), helper] as const,
  );
  return { entries, helpers: new Map(helpers), store: credsStore || undefined };
}

/** `https://index.docker.io/v1/` is `docker.io`; a URL's path says an API version and no namespace. */
function scopeOf(key: string): string {
  const url = /^https?:\/\/([^/]+)/i.exec(key);
  const scope = url === null ? key.replace(/\/+$/, "") : url[1]!;
  const slash = scope.indexOf("/");
  const host = (slash < 0 ? scope : scope.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? "" : scope.slice(slash);
  return `${isDockerHub(host) ? "docker.io" : host}${path}`;
}
