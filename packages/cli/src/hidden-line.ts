import { CodedError } from "@shoal/api";

/** Standard input, of which a terminal can be told not to show what is typed. */
export type TerminalInput = AsyncIterable<Uint8Array | string> & {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
};

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const CTRL_U = "\u0015";
const ERASE = ["\b", "\u007F"];

/** One line of a terminal that is not shown: a secret stays out of its scroll-back. @throws ERR_INTERRUPTED */
export async function readHiddenLine(stdin: TerminalInput): Promise<string> {
  stdin.setRawMode?.(true);
  try {
    let line = "";
    for await (const chunk of stdin) {
      for (const key of typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8")) {
        if (key === CTRL_C) throw new CodedError("ERR_INTERRUPTED", "interrupted; nothing changed");
        if (key === "\r" || key === "\n" || key === CTRL_D) return line;
        if (key === CTRL_U) line = "";
        else if (ERASE.includes(key)) line = line.slice(0, -1);
        else line += key;
      }
    }
    return line;
  } finally {
    stdin.setRawMode?.(false);
  }
}
