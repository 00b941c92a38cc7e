import { readFile } from "node:fs/promises";
import { CodedError } from "@shoal/api";
import { readHiddenLine, type TerminalInput } from "./hidden-line.ts";
import { tokenIn } from "./token-text.ts";

const MAX_INPUT = 4096;
/** A pipe that nobody writes to or closes would be waited for in silence. */
const PATIENCE_MS = 2_000;

export interface TokenInput {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: TerminalInput;
  /** Tells the person at the terminal something. */
  readonly tell: (text: string) => void;
}

/** A token that has not been checked, and where it was given. */
export interface GivenToken {
  readonly text: string;
  readonly source: string;
}

/**
 * The token from what is piped in, else from SHOAL_TOKEN_FILE, else SHOAL_TOKEN, else from whoever
 * sits at the terminal. What is piped counts before the environment, which was set at another time.
 * @throws ERR_USAGE, ERR_INTERRUPTED
 */
export async function readToken({ env, stdin, tell }: TokenInput): Promise<GivenToken> {
  const file = env["SHOAL_TOKEN_FILE"] ?? "";
  const variable = env["SHOAL_TOKEN"]?.trim() ?? "";
  const fromEnvironment = file !== "" ? "SHOAL_TOKEN_FILE" : variable !== "" ? "SHOAL_TOKEN" : "";
  if (stdin.isTTY !== true) {
    const piped = await readPiped(stdin, fromEnvironment, tell);
    if (piped !== "") {
      if (fromEnvironment !== "")
        tell(`took the token from standard input; ${fromEnvironment} is not used\n`);
      return { text: piped, source: "standard input" };
    }
  }
  if (file !== "") return { text: tokenIn(await readTokenFile(file)), source: file };
  if (variable !== "") return { text: tokenIn(variable), source: "SHOAL_TOKEN" };
  if (stdin.isTTY === true) {
    tell("paste the token that `shoal token` printed on a member (it is not shown): ");
    const typed = tokenIn(await readHiddenLine(stdin));
    tell("\n");
    if (typed !== "") return { text: typed, source: "the terminal" };
  }
  throw new CodedError(
    "ERR_USAGE",
    "no token on standard input; run `shoal token` on a member and pipe it: shoal token | ssh other shoal join",
  );
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new CodedError("ERR_USAGE", `SHOAL_TOKEN_FILE names ${file}, which can't be read`, {
      cause,
    });
  }
}

async function readPiped(
  stdin: TerminalInput,
  fromEnvironment: string,
  tell: TokenInput["tell"],
): Promise<string> {
  const waiting = setTimeout(() => {
    tell("waiting for a token on standard input");
    tell(fromEnvironment === "" ? "\n" : `; with \`< /dev/null\` ${fromEnvironment} is taken\n`);
  }, PATIENCE_MS);
  try {
    let text = "";
    for await (const chunk of stdin) {
      text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
      // A whole line is enough: whoever types into ssh need not end the input.
      const lines = text.slice(0, text.lastIndexOf("\n") + 1);
      if (text.length > MAX_INPUT || tokenIn(lines, "") !== "") break;
    }
    return tokenIn(text);
  } finally {
    clearTimeout(waiting);
  }
}
