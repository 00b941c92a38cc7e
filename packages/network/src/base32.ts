/** Crockford's base 32: no letter that is mistaken for a digit. */
const BASE32 = "0123456789abcdefghjkmnpqrstvwxyz";
const GROUP = 8;

/** Most significant bits first. @param bytes a multiple of five of them */
export function encodeBase32(bytes: Uint8Array): string {
  let value = BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
  let text = "";
  for (let i = 0; i < (bytes.length * 8) / 5; i++) {
    text = BASE32[Number(value & 31n)]! + text;
    value >>= 5n;
  }
  return text;
}

/** @param text of the alphabet's letters alone, a multiple of eight of them */
export function decodeBase32(text: string): Buffer {
  let value = 0n;
  for (const letter of text) value = (value << 5n) | BigInt(BASE32.indexOf(letter));
  return Buffer.from(value.toString(16).padStart((text.length * 5) / 4, "0"), "hex");
}

/** `prefix-` and the letters in groups of eight, which are read more easily. */
export function grouped(prefix: string, letters: string): string {
  return [prefix, ...(letters.match(new RegExp(`.{1,${GROUP}}`, "g")) ?? [])].join("-");
}

/**
 * The letters after `prefix` in a token as people paste it: any letter case, dashes and blanks anywhere.
 * @returns what is wrong with it otherwise
 */
export function lettersOf(
  text: string,
  prefix: string,
  count: number,
): { readonly letters: string } | { readonly fault: string } {
  const plain = text.toLowerCase().replaceAll(/[\s-]/g, "");
  if (!plain.startsWith(prefix)) return { fault: `it begins with ${prefix}` };
  const letters = plain.slice(prefix.length);
  if (letters.length !== count)
    return {
      fault: `it must have ${count} letters and digits after ${prefix}; this has ${letters.length}`,
    };
  if (!new RegExp(`^[${BASE32}]+$`).test(letters))
    return { fault: "after its beginning it has digits, and letters without i, l, o and u" };
  return { letters };
}
