import { readFile } from "node:fs/promises";
import { CodedError } from "@shoal/api";

const MAX_INPUT = 4096;

export interface TokenInput {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean };
  /** Called when somebody is about to be asked at a terminal. */
  readonly prompt: () => void;
}

/** The token from SHOAL_TOKEN_FILE, SHOAL_TOKEN, or standard input. @throws ERR_USAGE */
export async function readToken({ env, stdin, prompt }: TokenInput): Promise<string> {
  const file = env["SHOAL_TOKEN_FILE"];
  if (file !== undefined && file !== "") {
    try {
      return (await readFile(file, "utf8")).trim();
    } catch (cause) {
      throw new CodedError("ERR_USAGE", `SHOAL_TOKEN_FILE names ${file}, which can't be read`, {
        cause,
      });
    }
  }
  const given = env["SHOAL_TOKEN"]?.trim();
  if (given !== undefined && given !== "") return given;
  if (stdin.isTTY === true) prompt();
  let text = "";
  for await (const chunk of stdin) {
    text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
    // One line is the token; a person at a terminal need not end the input.
    if (text.length > MAX_INPUT || (text.includes("\n") && text.trim() !== "")) break;
  }
  const token = text.trim().split("\n")[0]!.trim();
  if (token === "")
    throw new CodedError(
      "ERR_USAGE",
      "no token on standard input; run `shoal token` on a member and pipe it: shoal token | ssh other shoal join",
    );
  return token;
}
