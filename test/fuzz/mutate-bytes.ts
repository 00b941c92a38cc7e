import type { Random } from "./random.ts";

/** What parsers trip over, whatever they read. */
const TOKENS = [
  ..."\0\t\n\r \"'\\/:;,=@%?*[]{}<>()-_.&#!|~+0129azAZ".split(""),
  "\r\n",
  "\uFEFF",
  "\u2028",
  "é",
  "\u{1F980}",
  "__proto__",
  "constructor",
  "null",
  "-1",
  "1e999",
  "9007199254740993",
  "18446744073709551616",
  "%2e%2e%2f",
  "../",
  "sha256:",
].map((text) => Buffer.from(text));
const BYTES = [0x00, 0x01, 0x1f, 0x20, 0x7f, 0x80, 0x9f, 0xbf, 0xc0, 0xf8, 0xff];
const MOST_EDITS = 6;
const LONG_RUN = 4096;

/** A copy of an example with a few of its bytes changed, or bytes of chance; at most `mostBytes` of them. */
export function mutateBytes(
  random: Random,
  examples: readonly Uint8Array[],
  dictionary: readonly Uint8Array[],
  mostBytes: number,
): Uint8Array {
  if (examples.length === 0 || random.below(20) === 0) return chance(random, random.below(256));
  let bytes = Buffer.from(random.pick(examples));
  for (let edits = 1 + random.below(MOST_EDITS); edits > 0; edits--)
    bytes = edit(random, bytes, examples, dictionary);
  return bytes.subarray(0, mostBytes);
}

function edit(
  random: Random,
  bytes: Buffer<ArrayBuffer>,
  examples: readonly Uint8Array[],
  dictionary: readonly Uint8Array[],
): Buffer<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const to = Math.min(bytes.length, at + 1 + random.below(random.below(8) === 0 ? 64 : 4));
  const put = (between: Uint8Array, end = at): Buffer<ArrayBuffer> =>
    Buffer.concat([bytes.subarray(0, at), between, bytes.subarray(end)]);
  switch (random.below(10)) {
    case 0:
      if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = random.pick(BYTES);
      return bytes;
    case 2:
      return put(new Uint8Array(), to);
    case 3:
      return put(chance(random, 1 + random.below(8)));
    case 4:
      return put(random.pick(TOKENS));
    case 5:
      return put(random.pick(dictionary.length === 0 ? TOKENS : dictionary), to);
    case 6:
      return put(bytes.subarray(at, to));
    case 7:
      return put(
        repeated(bytes.subarray(at, to), 1 + random.below(random.below(50) ? 16 : LONG_RUN)),
      );
    case 8: {
      const other = random.pick(examples);
      return Buffer.concat([bytes.subarray(0, at), other.subarray(random.below(other.length + 1))]);
    }
    default:
      return bytes.subarray(0, at);
  }
}

function chance(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

export function repeated(unit: Uint8Array, count: number): Uint8Array {
  return Buffer.alloc(unit.length * count, unit);
}
