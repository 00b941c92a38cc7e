import {
  type Bitfield,
  bitfieldFromBytes,
  createBitfield,
  type PieceGeometry,
  type PieceIndex,
} from "@shoal/store";
import type { Source } from "./picker.ts";
import type { PeerIdString } from "./transport.ts";

/** Requests at a time to one neighbour. */
const WINDOW = 8;
/** Failures in a row after which a neighbour is not asked for the blob any more. */
const GIVEN_UP_AFTER = 4;
/** Neighbours of one blob, those that came by themselves among them. */
const MAX_NEIGHBOURS = 40;

interface Neighbour {
  have: Bitfield;
  outstanding: number;
  failures: number;
  /** No request before this time. */
  restUntilMs: number;
  /** It exchanges deltas with this member. */
  subscribed: boolean;
}

/** The members that one blob is exchanged with, and what each of them has. */
export interface Neighbours {
  readonly size: number;
  /** How many neighbours have each piece. */
  readonly availability: Uint16Array;
  has(peer: PeerIdString): boolean;
  /** Takes in a bitfield in wire form. @returns whether it fits the blob and there was room */
  learn(peer: PeerIdString, have: Uint8Array | "all", subscribed: boolean): boolean;
  /** Takes in a delta. */
  gained(peer: PeerIdString, pieces: Iterable<number>): void;
  /** The neighbour does not have the piece after all. */
  lacks(peer: PeerIdString, piece: PieceIndex): void;
  forget(peer: PeerIdString): void;
  /** Those that may be asked now. */
  sources(nowMs: number): Source[];
  /** Those that hear of what arrives here, without the ones that have the piece. */
  audience(piece: PieceIndex): PeerIdString[];
  /** Members known to have a piece. */
  having(piece: PieceIndex): PeerIdString[];
  requested(peer: PeerIdString): void;
  /** @returns whether the peer has failed so often that it is no neighbour any more */
  answered(peer: PeerIdString, outcome: "ok" | "busy" | "failed", nowMs: number): boolean;
}

export function createNeighbours(geometry: PieceGeometry): Neighbours {
  const known = new Map<PeerIdString, Neighbour>();
  const availability = new Uint16Array(geometry.pieceCount);

  function count(have: Bitfield, by: 1 | -1): void {
    for (const piece of have) availability[piece]! += by;
  }

  function full(): Bitfield {
    const all = createBitfield(geometry.pieceCount);
    for (let piece = 0; piece < geometry.pieceCount; piece++) all.set(piece as PieceIndex);
    return all;
  }

  function forget(peer: PeerIdString): void {
    const neighbour = known.get(peer);
    if (neighbour === undefined) return;
    count(neighbour.have, -1);
    known.delete(peer);
  }

  return {
    availability,
    get size() {
      return known.size;
    },
    has: (peer) => known.has(peer),
    learn(peer, wire, subscribed) {
      const have = wire === "all" ? full() : bitfieldFromBytes(geometry.pieceCount, wire);
      if (have === undefined) return false;
      const neighbour = known.get(peer);
      if (neighbour === undefined) {
        if (known.size >= MAX_NEIGHBOURS) return false;
        known.set(peer, { have, outstanding: 0, failures: 0, restUntilMs: 0, subscribed });
      } else {
        count(neighbour.have, -1);
        neighbour.have = have;
        neighbour.subscribed ||= subscribed;
      }
      count(have, 1);
      return true;
    },
    gained(peer, pieces) {
      const neighbour = known.get(peer);
      if (neighbour === undefined) return;
      for (const index of pieces) {
        if (index >= geometry.pieceCount) continue;
        const piece = index as PieceIndex;
        if (neighbour.have.set(piece)) availability[piece]! += 1;
      }
    },
    lacks(peer, piece) {
      if (known.get(peer)?.have.clear(piece) === true) availability[piece]! -= 1;
    },
    forget,
    sources(nowMs) {
      const sources: Source[] = [];
      for (const [peer, { have, outstanding, restUntilMs, failures }] of known)
        if (restUntilMs <= nowMs)
          sources.push({ peer, have, outstanding, window: failures === 0 ? WINDOW : 1 });
      return sources;
    },
    audience: (piece) =>
      [...known].filter(([, n]) => n.subscribed && !n.have.has(piece)).map(([peer]) => peer),
    having: (piece) => [...known].filter(([, n]) => n.have.has(piece)).map(([peer]) => peer),
    requested(peer) {
      const neighbour = known.get(peer);
      if (neighbour !== undefined) neighbour.outstanding += 1;
    },
    answered(peer, outcome, nowMs) {
      const neighbour = known.get(peer);
      if (neighbour === undefined) return false;
      neighbour.outstanding -= 1;
      if (outcome === "ok") neighbour.failures = 0;
      if (outcome === "busy") neighbour.restUntilMs = nowMs + 100;
      if (outcome !== "failed") return false;
      neighbour.failures += 1;
      neighbour.restUntilMs = nowMs + Math.min(10_000, 250 * 2 ** neighbour.failures);
      if (neighbour.failures < GIVEN_UP_AFTER) return false;
      forget(peer);
      return true;
    },
  };
}
