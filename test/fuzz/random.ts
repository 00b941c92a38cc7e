/** Random numbers that a seed repeats. */
export interface Random {
  /** A whole number from 0 up to and without `end`. */
  below(end: number): number;
  pick<Value>(from: readonly Value[]): Value;
}

/** Mulberry32: fast, and good enough to make inputs of. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;

  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  const below = (end: number): number => Math.floor((next() / 2 ** 32) * end);
  return { below, pick: (from) => from[below(from.length)]! };
}
