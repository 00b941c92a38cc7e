/** How much had arrived at a time. */
export interface RateSample {
  readonly atMs: number;
  readonly bytes: number;
}

/** Long enough to be steady while pieces come in bursts, short enough to follow a change. */
const WINDOW_MS = 5_000;

/** `samples` and one more, without those that are too old to count. */
export function withSample(samples: readonly RateSample[], sample: RateSample): RateSample[] {
  const kept = samples.filter(({ atMs }) => sample.atMs - atMs <= WINDOW_MS);
  return [...kept, sample];
}

/** Bytes in a second over the samples; undefined until they span enough time to tell. */
export function bytesPerSecond(samples: readonly RateSample[]): number | undefined {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined || last.atMs - first.atMs < 250) return undefined;
  return (Math.max(0, last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs);
}
