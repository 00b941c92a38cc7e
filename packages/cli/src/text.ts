/**
 * `text` with everything but printable ASCII replaced. Names come from registries and other
 * machines: none may move the cursor or hide a line, and each character is one column wide.
 */
export function plain(text: string): string {
  return text.replaceAll(/[^\x20-\x7E]/gu, "?");
}

/** Like {@link plain}, for messages: lines and any language stay, what steers a terminal does not. */
export function printable(text: string): string {
  return text.replaceAll(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}

/** A reference's repository and the digest that it resolved to, without the tag. */
export function pinned(reference: string, digest: string | undefined): string {
  if (digest === undefined) return plain(reference);
  const name = reference.replace(/@.*$/, "").replace(/:[^:/]*$/, "");
  return plain(`${name}@${digest}`);
}
