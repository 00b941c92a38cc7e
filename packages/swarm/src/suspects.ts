import type { Logger } from "@shoal/runtime";
import type { SwarmMetrics } from "./metrics.ts";
import type { PeerIdString } from "./transport.ts";

/** Wrong pieces after which nothing more is taken from a member. */
const STRIKES = 3;

/** Members that gave wrong pieces. */
export interface Suspects {
  /** Whether pieces are taken from the member. */
  readonly trusts: (peer: PeerIdString) => boolean;
  /** Members whom nothing is taken from any more. */
  readonly distrusted: () => PeerIdString[];
  /** A piece of the member was shown to be wrong. */
  readonly strike: (peer: PeerIdString) => void;
  readonly list: () => { readonly peer: PeerIdString; readonly strikes: number }[];
}

export function createSuspects(logger: Logger, metrics: SwarmMetrics): Suspects {
  const strikes = new Map<PeerIdString, number>();
  return {
    trusts: (peer) => (strikes.get(peer) ?? 0) < STRIKES,
    distrusted: () => [...strikes].filter(([, count]) => count >= STRIKES).map(([peer]) => peer),
    strike(peer) {
      const count = (strikes.get(peer) ?? 0) + 1;
      strikes.set(peer, count);
      metrics.verificationFailures.add(1);
      logger.warn({ peer, strikes: count }, "a member gave pieces that are not the blob's");
    },
    list: () => [...strikes].map(([peer, count]) => ({ peer, strikes: count })),
  };
}
