import type { PieceIndex } from "@shoal/store";
import { eachPiece, type PieceSet, pieceSetFrom } from "./piece-set.ts";
import type { PeerIdString } from "./transport.ts";
import type { Sync } from "./wire/messages.ts";

/** A participant as it last told of itself. */
export interface Participant {
  /** The member that has passed on what it tells; absent for one that told it itself. */
  readonly teller: PeerIdString | undefined;
  readonly canFetch: boolean;
  readonly wants: boolean;
  readonly have: PieceSet;
  readonly excluded: ReadonlySet<PeerIdString>;
  /** Pieces that its clients wait for. */
  readonly cursors: readonly number[];
  readonly seenMs: number;
}

/** The participants of one blob, and what they have between them. */
export interface Crowd {
  readonly participants: ReadonlyMap<PeerIdString, Participant>;
  /** How many participants have each piece. */
  readonly held: Uint16Array;
  /** How many pieces anybody has. */
  readonly heldPieces: number;
  /** @returns `undefined` for a bitfield that does not fit */
  admit(
    from: PeerIdString,
    message: Sync,
    teller: PeerIdString | undefined,
    nowMs: number,
  ): Participant | undefined;
  /** Those of whom a member has told. */
  toldBy(teller: PeerIdString): PeerIdString[];
  remove(peer: PeerIdString): void;
  /** How many participants can ask the upstream. */
  fetchers(): number;
  /** Whether a participant, other than those that `me` does not take the blob from, has the piece. */
  has(piece: number, me: Participant): boolean;
}

export function createCrowd(pieceCount: number): Crowd {
  const participants = new Map<PeerIdString, Participant>();
  const held = new Uint16Array(pieceCount);
  let heldPieces = 0;

  function count(piece: PieceIndex, by: 1 | -1): void {
    if (held[piece] === 0) heldPieces += 1;
    held[piece]! += by;
    if (held[piece] === 0) heldPieces -= 1;
  }

  function remove(peer: PeerIdString): void {
    const participant = participants.get(peer);
    if (participant === undefined) return;
    eachPiece(participant.have.words, (piece) => count(piece, -1));
    participants.delete(peer);
  }

  function toldBy(teller: PeerIdString): PeerIdString[] {
    return [...participants].filter(([, told]) => told.teller === teller).map(([peer]) => peer);
  }

  return {
    participants,
    held,
    get heldPieces() {
      return heldPieces;
    },
    toldBy,
    admit(from, message, teller, nowMs) {
      const have = pieceSetFrom(pieceCount, message.have);
      if (have === undefined) return undefined;
      remove(from);
      eachPiece(have.words, (piece) => count(piece, 1));
      const participant: Participant = {
        teller,
        canFetch: message.canFetch,
        wants: message.wants,
        have,
        excluded: new Set(message.excluded.flatMap((peer) => [peer, ...toldBy(peer)])),
        cursors: message.cursors,
        seenMs: nowMs,
      };
      participants.set(from, participant);
      return participant;
    },
    remove,
    fetchers() {
      let fetchers = 0;
      for (const { canFetch } of participants.values()) if (canFetch) fetchers += 1;
      return fetchers;
    },
    has(piece, me) {
      let left = held[piece]!;
      if (left > 0)
        for (const peer of me.excluded)
          if (participants.get(peer)?.have.has(piece as PieceIndex) === true) left -= 1;
      return left > 0;
    },
  };
}
