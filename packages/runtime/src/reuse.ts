import type { Clock } from "./clock.ts";

/** Asks again only when the last answer is older than `ageMs`: for what costs much to find out and changes seldom. */
export function reuseFor<T>(clock: Pick<Clock, "now">, ageMs: number, find: () => T): () => T {
  let last: { readonly value: T; readonly foundMs: number } | undefined;
  return () => {
    const nowMs = clock.now();
    if (last === undefined || nowMs - last.foundMs >= ageMs)
      last = { value: find(), foundMs: nowMs };
    return last.value;
  };
}
