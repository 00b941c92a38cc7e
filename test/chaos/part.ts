/** What a part of the suite is told. */
export interface ChaosInit {
  /** The same seed chooses the same faults; moments and the machine's load are its own. */
  readonly seed: number;
  /** By hand: many rounds, more machines. Otherwise what CI has time for. */
  readonly long: boolean;
  /** How many rounds, in place of the form's own number. */
  readonly rounds?: number | undefined;
  /** How long a soak takes, in place of the form's own time. */
  readonly minutes?: number | undefined;
  /** How many machines, in place of the form's own number. */
  readonly machines?: number | undefined;
  /** Takes a line about how far it is. */
  readonly tell: (line: string) => void;
}

/** What came out of a part. */
export interface ChaosResult {
  /** What was counted and measured, by what it is. */
  readonly figures: Readonly<Record<string, number | string>>;
  /** What must not have happened, and did. */
  readonly failures: readonly string[];
}

export type ChaosPart = (init: ChaosInit) => Promise<ChaosResult>;

/** Collects what must not happen, and tells of it at once. */
export interface Checks {
  readonly failures: readonly string[];
  expect(holds: boolean, failure: string): void;
}

export function createChecks(tell: (line: string) => void): Checks {
  const failures: string[] = [];
  return {
    failures,
    expect(holds, failure) {
      if (holds) return;
      failures.push(failure);
      tell(`FAILED: ${failure}`);
    },
  };
}

export interface Dice {
  /** At least 0 and less than 1. */
  readonly float: () => number;
  /** A whole number from 0, less than `below`. */
  below(below: number): number;
  /** So many of them, none twice. */
  some<T>(count: number, of: readonly T[]): T[];
}

/** Chance that a seed repeats (mulberry32). */
export function createDice(seed: number): Dice {
  let state = seed >>> 0;
  function float(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }
  const below = (limit: number): number => Math.floor(float() * limit);
  return {
    float,
    below,
    some(count, of) {
      const left = [...of];
      return Array.from({ length: Math.min(count, of.length) }, () => {
        const [one] = left.splice(below(left.length), 1);
        return one!;
      });
    },
  };
}
