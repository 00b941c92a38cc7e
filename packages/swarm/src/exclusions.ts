import type { PeerIdString } from "./transport.ts";

/** Members that one blob is not taken from, whatever is thought of them elsewhere. */
export interface Exclusions {
  readonly peers: ReadonlySet<PeerIdString>;
  /** Whether pieces are taken from the member. */
  takesFrom(peer: PeerIdString): boolean;
  /** Whether the member's word about this blob's pieces counts. */
  believes(signer: PeerIdString): boolean;
  /** The member does not deliver: it is asked for nothing more. */
  exclude(peer: PeerIdString): void;
  /** The member's word about this blob's pieces is wrong: none that it vouches for are taken either. */
  refuse(peer: PeerIdString): void;
  /** Nobody's word was shown to be wrong after all. */
  forgive(): void;
}

/** @param trusts whether a member is in good enough standing to take pieces from */
export function createExclusions(trusts: (peer: PeerIdString) => boolean): Exclusions {
  const excluded = new Set<PeerIdString>();
  const refused = new Set<PeerIdString>();
  return {
    peers: excluded,
    takesFrom: (peer) => !excluded.has(peer) && trusts(peer),
    believes: (signer) => !refused.has(signer) && trusts(signer),
    exclude(peer) {
      excluded.add(peer);
    },
    refuse(peer) {
      refused.add(peer);
      excluded.add(peer);
    },
    forgive() {
      for (const peer of refused) excluded.delete(peer);
      refused.clear();
    },
  };
}
