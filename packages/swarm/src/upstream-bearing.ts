/** Fewer lessees than this are never asked for because pieces take long. */
const FEW_LESSEES = 4;
/** Failures and successes this close to a failure tell of the same trouble. Milliseconds. */
const TROUBLE_MS = 1000;

export interface UpstreamBearingSettings {
  /** How many lessees at once. */
  readonly maxLessees: number;
  /** A piece should not take longer than this: else there are fewer lessees. Milliseconds. */
  readonly pieceMs: number;
}

/** How many members the upstream bears at once: half as many after it fails one, one more after each lease that ends well. */
export interface UpstreamBearing {
  /** The upstream has failed one of so many lessees: too many at once may be why. */
  failed(lessees: number, nowMs: number): void;
  /** A lease has brought all of its pieces. */
  brought(nowMs: number): void;
  /**
   * How many may fetch at once: fewer also where pieces take long, and few do as well.
   * @param bytesPerMs the site's pace; `undefined` while it is not known
   */
  mostLessees(bytesPerMs: number | undefined, pieceSizeBytes: number): number;
}

export function createUpstreamBearing(settings: UpstreamBearingSettings): UpstreamBearing {
  const { maxLessees, pieceMs } = settings;
  let borne = maxLessees;
  let troubledMs = Number.NEGATIVE_INFINITY;
  return {
    failed(lessees, nowMs) {
      if (nowMs - troubledMs <= TROUBLE_MS) return;
      troubledMs = nowMs;
      borne = Math.max(1, Math.floor(Math.min(borne, 1 + lessees) / 2));
    },
    brought(nowMs) {
      if (nowMs - troubledMs > TROUBLE_MS) borne = Math.min(maxLessees, borne + 1);
    },
    mostLessees(bytesPerMs, pieceSizeBytes) {
      if (bytesPerMs === undefined) return borne;
      const inTime = Math.floor((bytesPerMs * pieceMs) / pieceSizeBytes);
      return Math.min(borne, Math.max(FEW_LESSEES, inTime));
    },
  };
}
