import type { Clock } from "./clock.ts";

/** A clock that moves only when told to. */
export interface ManualClock extends Clock {
  /** Moves time on, running what falls due in order. */
  advance(byMs: number): void;
}

export function createManualClock(startMs = 0): ManualClock {
  let nowMs = startMs;
  let sequence = 0;
  const timers = new Map<number, { dueMs: number; callback: () => void }>();
  return {
    now: () => nowMs,
    wallNow: () => nowMs,
    schedule(delayMs, callback) {
      const id = sequence++;
      timers.set(id, { dueMs: nowMs + Math.max(0, delayMs), callback });
      return {
        [Symbol.dispose]() {
          timers.delete(id);
        },
      };
    },
    advance(byMs) {
      const untilMs = nowMs + byMs;
      for (;;) {
        let next: [number, { dueMs: number; callback: () => void }] | undefined;
        for (const entry of timers) {
          if (entry[1].dueMs <= untilMs && (next === undefined || entry[1].dueMs < next[1].dueMs))
            next = entry;
        }
        if (next === undefined) break;
        timers.delete(next[0]);
        nowMs = next[1].dueMs;
        next[1].callback();
      }
      nowMs = untilMs;
    },
  };
}
