import type { Clock, Logger } from "@shoal/runtime";
import type { Libp2p } from "libp2p";

const SWEEP_MS = 60_000;

export interface PeerStoreSweepComponents {
  readonly node: Pick<Libp2p, "peerStore" | "getConnections">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborts when the node stops. */
  readonly signal: AbortSignal;
}

/**
 * Keeps libp2p's peer store small. libp2p notes everybody whom it dials or who calls, and forgets nobody; names cost
 * nothing to forge. Nothing here reads what it has noted, so those that are not connected go each minute.
 */
export function sweepPeerStore({ node, clock, logger, signal }: PeerStoreSweepComponents): void {
  async function sweep(): Promise<void> {
    for (const { id } of await node.peerStore.all())
      if (node.getConnections(id).length === 0) await node.peerStore.delete(id);
  }

  function keepSweeping(): void {
    clock.schedule(SWEEP_MS, () => {
      if (signal.aborted) return;
      sweep()
        .catch((error: unknown) => logger.debug({ error }, "the peer store could not be swept"))
        .finally(keepSweeping);
    });
  }
  keepSweeping();
}
