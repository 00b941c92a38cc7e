import type { Digest } from "@shoal/oci";
import type { Logger } from "@shoal/runtime";
import type { PeerClient } from "./peer-client.ts";
import type { PeerTransport } from "./transport.ts";

/** Digests of one question; more are asked in several. */
const ASKED_AT_ONCE = 1000;
const TIMEOUT_MS = 1000;

export interface KeepersComponents {
  readonly transport: Pick<PeerTransport, "members">;
  readonly peers: Pick<PeerClient, "ask">;
  /** Whether others may know that this member has the blob. */
  readonly shares: (digest: Digest) => boolean;
  readonly logger: Logger;
}

/** Finds out which blobs the site would lose with this member's copy. */
export interface Keepers {
  /**
   * Those that no live member has said that it keeps. Without members there is nobody to lose them, and none is
   * named; nor is one that members may not have.
   */
  lastCopies(digests: readonly Digest[]): Promise<ReadonlySet<Digest>>;
}

export function createKeepers({ transport, peers, shares, logger }: KeepersComponents): Keepers {
  return {
    async lastCopies(digests) {
      const members = transport.members();
      const last = new Set(members.length === 0 ? [] : digests.filter(shares));
      const asked = [...last];
      await Promise.all(
        members.map(async (peer) => {
          try {
            for (let at = 0; at < asked.length; at += ASKED_AT_ONCE) {
              const some = asked.slice(at, at + ASKED_AT_ONCE);
              const question = { type: "keeping", digests: some } as const;
              const { kept } = await peers.ask(peer, question, { timeoutMs: TIMEOUT_MS });
              for (const index of kept) if (index < some.length) last.delete(some[index]!);
            }
          } catch (error) {
            // Who does not answer, one of an earlier version for example, keeps nothing that is relied on.
            logger.debug({ error, peer }, "a member did not say what it keeps");
          }
        }),
      );
      return last;
    },
  };
}
