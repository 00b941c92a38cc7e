import type { Random } from "./random.ts";

/** Values that stand where others are expected. */
const ODD: readonly (() => unknown)[] = [
  () => null,
  () => true,
  () => -1,
  () => 0,
  () => 0.5,
  () => 2 ** 31,
  () => 2 ** 32,
  () => Number.MAX_SAFE_INTEGER,
  () => 2 ** 60,
  () => 1e308,
  () => "",
  () => "__proto__",
  () => "x".repeat(300),
  () => "\u0000\u202e\ud800",
  () => [],
  () => ({}),
  () => [[[[[]]]]],
  () => ({ toString: null, constructor: 1 }),
  () => new Uint8Array(),
  () => new Uint8Array(32),
  () => new Uint8Array(100_000),
  () => Array.from({ length: 3000 }, () => 7),
];
const KEYS = ["__proto__", "constructor", "toString", "type", "length", "", "0", "more"];

/** A copy with one of its parts put in place by another, taken out, doubled or added to. */
export function mutateValue(random: Random, value: unknown): unknown {
  const isInner = typeof value === "object" && value !== null && !(value instanceof Uint8Array);
  if (!isInner || random.below(6) === 0) return random.pick(ODD)();
  if (Array.isArray(value)) {
    const at = random.below(value.length + 1);
    switch (random.below(5)) {
      case 0:
        return value.toSpliced(at, 1);
      case 1:
        return value.toSpliced(at, 0, random.pick(ODD)());
      case 2:
        return Array.from({ length: random.below(600) }, () => value[at] as unknown);
      default:
        return value.length === 0
          ? value
          : value.with(at % value.length, mutateValue(random, value[at % value.length]));
    }
  }
  const entries = Object.entries(value);
  const at = random.below(entries.length + 1);
  const key = entries[at]?.[0] ?? random.pick(KEYS);
  switch (random.below(5)) {
    case 0:
      return asObject(entries.toSpliced(at, 1));
    case 1:
      return asObject([...entries, [random.pick(KEYS), random.pick(ODD)()]]);
    default:
      return asObject([
        ...entries.filter(([name]) => name !== key),
        [key, mutateValue(random, entries[at]?.[1])],
      ]);
  }
}

/** `__proto__` is a field as any other. */
function asObject(entries: readonly (readonly [string, unknown])[]): unknown {
  return Object.fromEntries(entries);
}
