import type { Digest } from "@shoal/oci";
import { type Clock, keepNewest } from "@shoal/runtime";

/** How long a registry's wrong bytes are remembered. Milliseconds. */
const WARY_MS = 10 * 60_000;
const MAX_BLOBS = 1000;

/**
 * Blobs of which the upstream has given wrong bytes lately. What of those is shown before it is verified spoils
 * each pull anew: containerd goes on at its own upstream from where a body ended, with what it got before. A
 * failure before any byte sends it there from the start.
 */
export interface Wariness {
  /** The upstream's bytes were not the blob's. */
  misled(digest: Digest): void;
  /** Whether nothing of the blob is to be shown before all of it is verified. */
  isWaryOf(digest: Digest): boolean;
}

export function createWariness(clock: Pick<Clock, "now">): Wariness {
  const untilMs = new Map<Digest, number>();
  return {
    misled(digest) {
      keepNewest(untilMs, digest, clock.now() + WARY_MS, MAX_BLOBS);
    },
    isWaryOf: (digest) => (untilMs.get(digest) ?? Number.NEGATIVE_INFINITY) > clock.now(),
  };
}
