const SMALLEST_TAKE_BYTES = 16 * 1024;
const LARGEST_SMALL_TAKE_BYTES = 1024 * 1024;

/** Bytes that may be moved, filling at a rate that may change. Decisions only: time is handed in. */
export interface TokenBucket {
  /** Sets the rate in bytes per second; what has gathered stays. */
  setRate(bytesPerSecond: number, nowMs: number): void;
  /**
   * Takes what has gathered, up to `mostBytes`, to be asked for in one request.
   * @returns 0 while less is there than a request is worth: a quarter of a second's bytes
   */
  take(mostBytes: number, nowMs: number): number;
  /** Takes exactly `bytes`, in advance where they have not gathered yet. */
  spend(bytes: number, nowMs: number): void;
  /** Milliseconds until `take` gives something, Infinity at a rate of 0. */
  waitMs(mostBytes: number, nowMs: number): number;
  /** Milliseconds until what was spent in advance has gathered. */
  debtMs(nowMs: number): number;
  /** Forgets what has gathered, so that an idle time does not end in a burst. */
  empty(): void;
}

/** Begins empty, at a rate of 0. */
export function createTokenBucket(): TokenBucket {
  let rate = 0;
  let tokens = 0;
  let atMs = Number.NEGATIVE_INFINITY;

  function smallest(): number {
    return Math.min(LARGEST_SMALL_TAKE_BYTES, Math.max(SMALLEST_TAKE_BYTES, rate / 4));
  }

  function refill(nowMs: number): void {
    const passedMs = atMs === Number.NEGATIVE_INFINITY ? 0 : Math.max(0, nowMs - atMs);
    atMs = Math.max(atMs, nowMs);
    // Half a second's bytes: as long as a registry may take to begin an answer without loss of rate.
    const full = Math.max(2 * smallest(), rate / 2);
    if (tokens < full) tokens = Math.min(full, tokens + (rate * passedMs) / 1000);
  }

  function needed(mostBytes: number): number {
    return Math.min(mostBytes, smallest());
  }

  function waitFor(amount: number): number {
    if (tokens >= amount) return 0;
    return rate > 0 ? ((amount - tokens) * 1000) / rate : Number.POSITIVE_INFINITY;
  }

  return {
    setRate(bytesPerSecond, nowMs) {
      refill(nowMs);
      rate = bytesPerSecond;
    },
    take(mostBytes, nowMs) {
      refill(nowMs);
      if (tokens < needed(mostBytes)) return 0;
      const taken = Math.floor(Math.min(mostBytes, tokens));
      tokens -= taken;
      return taken;
    },
    spend(bytes, nowMs) {
      refill(nowMs);
      tokens -= bytes;
    },
    waitMs(mostBytes, nowMs) {
      refill(nowMs);
      return waitFor(needed(mostBytes));
    },
    debtMs(nowMs) {
      refill(nowMs);
      return waitFor(0);
    },
    empty() {
      tokens = Math.min(0, tokens);
    },
  };
}
