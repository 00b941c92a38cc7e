import { keepNewest } from "@shoal/runtime";

/** Addresses that are remembered: whoever has more than these of its own has a LAN of its own. */
const MAX_KEYS = 2000;

/** Counts what somebody tries, and refuses what is too much. Decisions only. */
export interface Attempts {
  /** Whether one more may be made now; it counts then. */
  take(key: string, nowMs: number): boolean;
}

/** @param limits so many at once, and one more after each `everyMs` */
export function createAttempts(limits: {
  readonly burst: number;
  readonly everyMs: number;
}): Attempts {
  /** When all of the key's attempts would be forgotten. */
  const emptyMs = new Map<string, number>();
  return {
    take(key, nowMs) {
      const fromMs = Math.max(nowMs, emptyMs.get(key) ?? 0);
      if (fromMs + limits.everyMs > nowMs + limits.burst * limits.everyMs) return false;
      keepNewest(emptyMs, key, fromMs + limits.everyMs, MAX_KEYS);
      return true;
    },
  };
}
