/** How the endpoints of a registry are ordered. */
export type EndpointsOrder = "listed" | "fastest";

/** How soon an endpoint's answers begin. */
export interface Pace {
  /** Mean of what was measured, the newest counting most. Milliseconds. */
  readonly firstByteMs: number;
  /** Monotonic time of the last measurement. Milliseconds. */
  readonly atMs: number;
}

export interface EndpointState {
  /** @default not measured yet */
  readonly pace?: Pace | undefined;
  /** A question to it is under way, whose answer will be measured. */
  readonly asking: boolean;
  /** It has failed, and is to be left alone until then. Monotonic milliseconds. */
  readonly restUntilMs: number;
}

/** Weight of a new measurement against one of the same moment. */
const NEWEST_WEIGHT = 0.3;
/**
 * A measurement loses half of its weight, and half of what it holds against the endpoint, in this time: one
 * that is half as fast as the fastest is measured again that much later, one that is a tenth as fast 17 minutes.
 */
const HALF_LIFE_MS = 5 * 60_000;

/** What is known of an endpoint after one more answer. Pure. */
export function measure(before: Pace | undefined, firstByteMs: number, nowMs: number): Pace {
  const kept = before === undefined ? 0 : (1 - NEWEST_WEIGHT) * fading(nowMs - before.atMs);
  return { firstByteMs: kept * (before?.firstByteMs ?? 0) + (1 - kept) * firstByteMs, atMs: nowMs };
}

/**
 * The order in which endpoints are asked, by their indices: as they are listed, or the fastest first. One that
 * has not been measured, or not for long, is tried, by one question at a time. Those that rest come last, the
 * one that has rested most first. Pure.
 */
export function orderEndpoints(
  endpoints: readonly EndpointState[],
  order: EndpointsOrder,
  nowMs: number,
): number[] {
  const indices = [...endpoints.keys()];
  const rests = (at: number): boolean => endpoints[at]!.restUntilMs > nowMs;
  const awake = indices.filter((at) => !rests(at));
  const resting = indices.filter(rests);
  if (order === "fastest") sortBy(awake, (at) => expectedMs(endpoints[at]!, nowMs));
  return [...awake, ...sortBy(resting, (at) => endpoints[at]!.restUntilMs)];
}

function expectedMs({ pace, asking }: EndpointState, nowMs: number): number {
  if (pace === undefined) return asking ? Number.POSITIVE_INFINITY : 0;
  return asking ? pace.firstByteMs : pace.firstByteMs * fading(nowMs - pace.atMs);
}

function fading(ageMs: number): number {
  return 2 ** (-Math.max(0, ageMs) / HALF_LIFE_MS);
}

/** Sorts in place; what is equal stays in order. */
function sortBy(indices: number[], keyOf: (at: number) => number): number[] {
  const keys = new Map(indices.map((at) => [at, keyOf(at)]));
  return indices.sort((a, b) =>
    keys.get(a) === keys.get(b) ? a - b : keys.get(a)! - keys.get(b)!,
  );
}
