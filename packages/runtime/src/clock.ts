import { type AbortOptions, raceSignal } from "./abort.ts";

/** Time as handed to everything that measures or waits, so that a simulator can hand in its own. */
export interface Clock {
  /** Monotonic milliseconds, for durations. */
  now(): number;
  /** Wall-clock milliseconds since the epoch, for records that outlive the process. */
  wallNow(): number;
  /** Calls `callback` once after `delayMs`; disposing the result takes that back. */
  schedule(delayMs: number, callback: () => void): Disposable;
}

/** The machine's own time. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return {
      [Symbol.dispose]() {
        clearTimeout(timer);
      },
    };
  },
};

/** Resolves after `delayMs` of the clock's time; rejects with the signal's reason. */
export async function sleep(
  clock: Clock,
  delayMs: number,
  options: AbortOptions = {},
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  using _timer = clock.schedule(delayMs, resolve);
  await raceSignal(promise, options.signal);
}
