import type { Clock } from "./clock.ts";

/** What every awaiting call takes last. */
export interface AbortOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Settles as `promise` does, or rejects with `signal.reason` as soon as the signal aborts.
 * The promise itself goes on; whoever made it stops it.
 */
export async function raceSignal<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return await promise;
  if (signal.aborted) {
    promise.catch(() => undefined);
    throw signal.reason;
  }
  const { promise: settled, resolve, reject } = Promise.withResolvers<T>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  promise.then(resolve, reject);
  try {
    return await settled;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** A signal that aborts with the first of those given, or after `timeoutMs`. */
export function deadline(timeoutMs: number, signal?: AbortSignal): AbortSignal {
  const timeout = AbortSignal.timeout(Math.ceil(timeoutMs));
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

/** A signal with a time limit, taken back when disposed. */
export interface TimeLimit extends Disposable {
  readonly signal: AbortSignal;
}

/** A signal that aborts with the one given, or with a TimeoutError after `timeoutMs` of the clock's time. */
export function limitTime(clock: Clock, timeoutMs: number, signal?: AbortSignal): TimeLimit {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  const timer = clock.schedule(timeoutMs, () =>
    controller.abort(new DOMException("the time is up", "TimeoutError")),
  );
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      timer[Symbol.dispose]();
      signal?.removeEventListener("abort", onAbort);
    },
  };
}
