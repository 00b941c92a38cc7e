/** Progress is looked at over at least this long. Milliseconds. */
const WINDOW_MS = 1000;

/** How fast bytes come, by what was told of late. */
export interface Pace {
  /** Bytes a millisecond; `undefined` before the first window has passed. */
  readonly bytesPerMs: number | undefined;
  /** `bytes` more have come by now, or none. */
  add(bytes: number, nowMs: number): void;
}

export function createPace(sinceMs: number): Pace {
  let fromMs = sinceMs;
  let bytesSince = 0;
  let bytesPerMs: number | undefined;
  return {
    get bytesPerMs() {
      return bytesPerMs;
    },
    add(bytes, nowMs) {
      bytesSince += bytes;
      const forMs = nowMs - fromMs;
      if (forMs < WINDOW_MS) return;
      const rate = bytesSince / forMs;
      const weight = Math.min(1, forMs / 2000);
      bytesPerMs = bytesPerMs === undefined ? rate : bytesPerMs + weight * (rate - bytesPerMs);
      fromMs = nowMs;
      bytesSince = 0;
    },
  };
}
