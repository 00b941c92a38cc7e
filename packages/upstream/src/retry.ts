import { type AbortOptions, type Clock, sleep } from "@shoal/runtime";

export interface RetryPolicy {
  /** Tries in all. */
  readonly tries: number;
  /** Wait before the second try; each further one doubles it. Milliseconds. */
  readonly baseMs: number;
}

const MAX_WAIT_MS = 5_000;

/** Wait before try number `failures + 1`: doubling, with half of it left to chance. Pure. */
export function backOffDelayMs(baseMs: number, failures: number, random: () => number): number {
  const fullMs = Math.min(baseMs * 2 ** (failures - 1), MAX_WAIT_MS);
  return fullMs * (0.5 + random() / 2);
}

/** Runs `attempt` until it succeeds, fails for good, or the tries are used up. */
export async function withRetries<Result>(
  components: { readonly clock: Clock; readonly random: () => number },
  policy: RetryPolicy,
  isTransient: (error: unknown) => boolean,
  attempt: () => Promise<Result>,
  options: AbortOptions = {},
): Promise<Result> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (failures >= policy.tries || !isTransient(error)) throw error;
      await sleep(
        components.clock,
        backOffDelayMs(policy.baseMs, failures, components.random),
        options,
      );
    }
  }
}
