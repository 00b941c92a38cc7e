import { type Clock, limitTime } from "@shoal/runtime";
import { isPassing } from "@shoal/upstream";

/** With something to fall back to, the registry has this long. Milliseconds. */
const FALLBACK_MS = 8000;

/**
 * Asks a registry, which has 8 s where there is something to fall back to.
 * @param fallBack what counts while the registry is out of reach; `undefined` where nothing does
 * @throws what `ask` throws, and the signal's reason
 */
export async function askOrFallBack<Answer>(
  clock: Clock,
  ask: (signal: AbortSignal) => Promise<Answer>,
  fallBack: ((error: unknown) => Answer) | undefined,
  signal: AbortSignal,
): Promise<Answer> {
  using limit = fallBack === undefined ? undefined : limitTime(clock, FALLBACK_MS, signal);
  try {
    return await ask(limit?.signal ?? signal);
  } catch (error) {
    signal.throwIfAborted();
    const isOutOfReach = isPassing(error) || limit?.signal.aborted === true;
    if (isOutOfReach && fallBack !== undefined) return fallBack(error);
    throw error;
  }
}
