/** What looks like a token, mistyped or not: it may be quoted, or stand in JSON. */
const TOKEN = /(?<![0-9a-z-])shoal(?:join)?1[-0-9a-z \t]*[0-9a-z]/i;

/**
 * The part of `text` that looks like a token: npm's lines before it and `--json` around it are left
 * out. Without one, `otherwise`, which is all of its first line by default: the daemon says what is
 * wrong with it.
 */
export function tokenIn(text: string, otherwise = text.trim().split("\n")[0]!.trim()): string {
  return TOKEN.exec(text)?.[0] ?? otherwise;
}
