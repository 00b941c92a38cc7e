import { hasCode } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { Arrival, Origin } from "./arrival.ts";
import type { GivenPiece } from "./exchange.ts";
import type { Exclusions } from "./exclusions.ts";
import type { Ledger } from "./ledger.ts";
import type { PeerIdString } from "./transport.ts";

/** Takes pieces in, with who vouches for them. */
export interface PieceIntake {
  /** A piece that this machine has read from the upstream. */
  fromUpstream(piece: PieceIndex, bytes: Uint8Array): Promise<void>;
  /** A piece is taken from a member when somebody vouches for it, and its bytes are what is promised. */
  fromPeer(piece: PieceIndex, given: GivenPiece, peer: PeerIdString): Promise<"taken" | "refused">;
  /** A whole blob that a coordinator gave along with its answer; nobody vouches for it. */
  fromAnswer(content: Uint8Array, from: PeerIdString): Promise<void>;
}

export interface PieceIntakeComponents {
  readonly arrival: Arrival;
  readonly ledger: Ledger;
  readonly exclusions: Pick<Exclusions, "believes">;
  readonly onStored: (piece: PieceIndex, origin: Origin) => void;
  /** A member gave a piece that is not what its signer promises, or without a promise that is one. */
  readonly onPolluter: (peer: PeerIdString) => void;
  /** The store does not take the piece. */
  readonly onFailure: (error: unknown) => void;
}

export function createPieceIntake(components: PieceIntakeComponents): PieceIntake {
  const { arrival, ledger, exclusions, onStored, onPolluter, onFailure } = components;

  function unwanted(piece: PieceIndex): boolean {
    return arrival.taken(piece) || arrival.sealed;
  }

  async function store(
    piece: PieceIndex,
    bytes: Uint8Array,
    origin: Origin,
    sha256?: Uint8Array,
  ): Promise<void> {
    try {
      if (!(await arrival.add(piece, bytes, origin, sha256))) return;
    } catch (error) {
      if (hasCode(error, "ERR_PIECE_MISMATCH")) {
        ledger.forget([piece]);
        return onPolluter(origin as PeerIdString);
      }
      onFailure(error);
      throw error;
    }
    ledger.stored(piece);
    onStored(piece, origin);
  }

  return {
    async fromUpstream(piece, bytes) {
      if (unwanted(piece)) return;
      ledger.expect(piece, undefined);
      await store(piece, bytes, "upstream");
    },
    async fromPeer(piece, { bytes, attestation }, peer) {
      const sha256 = await ledger.check(piece, attestation);
      if (sha256 === undefined) onPolluter(peer);
      if (sha256 === undefined || attestation === undefined) return "refused";
      if (!exclusions.believes(attestation.signer)) return "refused";
      if (unwanted(piece)) return "taken";
      ledger.expect(piece, attestation);
      await store(piece, bytes, peer, sha256);
      return "taken";
    },
    async fromAnswer(content, from) {
      await store(0 as PieceIndex, content, from);
    },
  };
}
