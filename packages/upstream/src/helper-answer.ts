import { z } from "zod";
import type { Credential } from "./credential.ts";

/** What `docker-credential-X get` has ended with. */
export interface HelperOutput {
  readonly exitCode: number;
  readonly stdout: string;
}

/** `unusable` says why without quoting the answer, which may hold a password. */
export type HelperAnswer =
  | { readonly kind: "login"; readonly credential: Credential }
  | { readonly kind: "none" }
  | { readonly kind: "unusable"; readonly reason: string };

const AnswerSchema = z.object({ Username: z.string(), Secret: z.string() });

/** As docker-credential-helpers' client/client.go knows them, on standard output. */
const NOT_FOUND = "credentials not found in native keychain";
/** The user's name beside which the secret is an identity token. */
const IDENTITY_TOKEN = "<token>";

/** Reads the answer of a credential helper, by docker-credential-helpers' protocol. Pure. */
export function parseHelperAnswer({ exitCode, stdout }: HelperOutput): HelperAnswer {
  if (exitCode !== 0)
    return stdout.trim() === NOT_FOUND
      ? { kind: "none" }
      : { kind: "unusable", reason: `it ended with exit code ${exitCode}` };
  const other = "it answered with something other than a Username and a Secret in JSON";
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch {
    return { kind: "unusable", reason: other };
  }
  const answer = AnswerSchema.safeParse(json);
  if (!answer.success) return { kind: "unusable", reason: other };
  const { Username: username, Secret: secret } = answer.data;
  // Docker's own helpers tell so of a login that was taken out.
  if (username === "" || secret === "") return { kind: "none" };
  if (username === IDENTITY_TOKEN)
    return { kind: "login", credential: { kind: "identity-token", username, token: secret } };
  // RFC 7617: what is after the first colon would be taken for the password.
  if (username.includes(":"))
    return { kind: "unusable", reason: "it answered with a Username that has a colon in it" };
  return { kind: "login", credential: { kind: "basic", username, password: secret } };
}
