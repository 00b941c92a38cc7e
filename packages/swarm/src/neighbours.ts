import type { PieceGeometry, PieceIndex } from "@shoal/store";
import type { Source } from "./picker.ts";
import { eachPiece, type PieceSet, pieceSetFrom } from "./piece-set.ts";
import type { PeerIdString } from "./transport.ts";

/** Requests at a time to a neighbour: at first, and at most. Who is slow gets one. */
const FIRST_WINDOW = 4;
const MAX_WINDOW = 8;
/** Failures in a row after which a neighbour is not asked for the blob any more. */
const GIVEN_UP_AFTER = 4;
/** Neighbours of one blob that exchange news, those that came by themselves among them. */
export const MAX_NEIGHBOURS = 40;
/** With holders, who need not be told anything. */
const MAX_SOURCES = 60;
/**
 * A neighbour that was busy is left alone for this share of what a piece usually takes, doubled each time in a
 * row, within these bounds.
 */
const BUSY_REST_SHARE = 0.2;
const BUSY_DOUBLINGS = 3;
/** What is left of its window then. */
const BUSY_WINDOW_SHARE = 0.7;
const SHORTEST_REST_MS = 5;
const LONGEST_REST_MS = 1000;

interface Neighbour extends Source {
  have: PieceSet;
  outstanding: number;
  window: number;
  failures: number;
  /** How often in a row it was busy. */
  busy: number;
  /** No request before this time. */
  restUntilMs: number;
  /** It exchanges deltas with this member. */
  subscribed: boolean;
}

/** How a request to a neighbour ended; `tookMs` where it delivered a piece. */
export type Outcome = "cancelled" | "busy" | "missing" | "failed" | { readonly tookMs: number };

/** The members that one blob is exchanged with, and what each of them has. */
export interface Neighbours {
  readonly size: number;
  /** How many neighbours have each piece. */
  readonly availability: Uint16Array;
  /** What a piece takes of late, from anybody; 0 before the first. Milliseconds. */
  readonly usualMs: number;
  /** How many hear of what arrives here. */
  readonly subscribers: number;
  has(peer: PeerIdString): boolean;
  /** Takes in a bitfield in wire form. @returns whether it fits the blob and there was room */
  learn(peer: PeerIdString, have: Uint8Array | "all", subscribed: boolean): boolean;
  /** Takes in a delta. @returns whether any of it is new */
  gained(peer: PeerIdString, pieces: Iterable<number>): boolean;
  /** The neighbour does not have the piece after all. */
  lacks(peer: PeerIdString, piece: PieceIndex): void;
  forget(peer: PeerIdString): void;
  /** Those that may be asked now. */
  sources(nowMs: number): Source[];
  /** Those that hear of what arrives here, without the ones that have the piece. */
  audience(piece: PieceIndex): PeerIdString[];
  /** Those that hear of what arrives here. */
  listeners(): PeerIdString[];
  /** Members known to have a piece. */
  having(piece: PieceIndex): PeerIdString[];
  requested(peer: PeerIdString): void;
  /** @returns whether the peer has failed so often that it is no neighbour any more */
  answered(peer: PeerIdString, outcome: Outcome, nowMs: number): boolean;
  /** A request takes so long that it is doubled elsewhere. */
  lags(peer: PeerIdString): void;
}

export function createNeighbours(geometry: PieceGeometry): Neighbours {
  const known = new Map<PeerIdString, Neighbour>();
  const availability = new Uint16Array(geometry.pieceCount);
  let usualMs = 0;
  let subscribers = 0;

  function count(have: PieceSet, by: 1 | -1): void {
    eachPiece(have.words, (piece) => {
      availability[piece]! += by;
    });
  }

  function forget(peer: PeerIdString): void {
    const neighbour = known.get(peer);
    if (neighbour === undefined) return;
    count(neighbour.have, -1);
    if (neighbour.subscribed) subscribers -= 1;
    known.delete(peer);
  }

  function subscribe(neighbour: Neighbour): void {
    if (!neighbour.subscribed) subscribers += 1;
    neighbour.subscribed = true;
  }

  /** What a neighbour gets at a time follows what it delivers in the time that a piece usually takes. */
  function adapt(neighbour: Neighbour, tookMs: number): void {
    usualMs = usualMs === 0 ? tookMs : usualMs * 0.9 + tookMs * 0.1;
    const change = Math.sqrt(Math.max(0.25, Math.min(1.5, usualMs / Math.max(0.01, tookMs))));
    neighbour.window = Math.max(1, Math.min(MAX_WINDOW, neighbour.window * change));
  }

  function busyRestMs({ busy }: Neighbour): number {
    const restMs = usualMs * BUSY_REST_SHARE * 2 ** Math.min(BUSY_DOUBLINGS, busy);
    return Math.max(SHORTEST_REST_MS, Math.min(LONGEST_REST_MS, restMs));
  }

  return {
    availability,
    get size() {
      return known.size;
    },
    get usualMs() {
      return usualMs;
    },
    get subscribers() {
      return subscribers;
    },
    has: (peer) => known.has(peer),
    learn(peer, wire, subscribed) {
      const have = pieceSetFrom(geometry.pieceCount, wire);
      if (have === undefined) return false;
      let neighbour = known.get(peer);
      if (neighbour === undefined) {
        if (known.size >= MAX_SOURCES || (subscribed && subscribers >= MAX_NEIGHBOURS))
          return false;
        neighbour = {
          peer,
          have,
          outstanding: 0,
          window: FIRST_WINDOW,
          failures: 0,
          busy: 0,
          restUntilMs: 0,
          subscribed: false,
        };
        known.set(peer, neighbour);
      } else {
        count(neighbour.have, -1);
        neighbour.have = have;
      }
      if (subscribed) subscribe(neighbour);
      count(have, 1);
      return true;
    },
    gained(peer, pieces) {
      const have = known.get(peer)?.have;
      let isNew = false;
      for (const index of pieces) {
        if (have?.add(index as PieceIndex) !== true) continue;
        availability[index]! += 1;
        isNew = true;
      }
      return isNew;
    },
    lacks(peer, piece) {
      if (known.get(peer)?.have.delete(piece) === true) availability[piece]! -= 1;
    },
    forget,
    sources(nowMs) {
      const sources: Source[] = [];
      for (const neighbour of known.values())
        if (neighbour.restUntilMs <= nowMs) sources.push(neighbour);
      return sources;
    },
    audience: (piece) =>
      [...known].filter(([, n]) => n.subscribed && !n.have.has(piece)).map(([peer]) => peer),
    listeners: () => [...known].filter(([, n]) => n.subscribed).map(([peer]) => peer),
    having: (piece) => [...known].filter(([, n]) => n.have.has(piece)).map(([peer]) => peer),
    requested(peer) {
      const neighbour = known.get(peer);
      if (neighbour !== undefined) neighbour.outstanding += 1;
    },
    answered(peer, outcome, nowMs) {
      const neighbour = known.get(peer);
      if (neighbour === undefined) return false;
      neighbour.outstanding -= 1;
      if (typeof outcome === "object") {
        neighbour.failures = 0;
        neighbour.busy = 0;
        adapt(neighbour, outcome.tookMs);
      }
      if (outcome === "busy") {
        neighbour.restUntilMs = nowMs + busyRestMs(neighbour);
        neighbour.busy += 1;
        neighbour.window = Math.max(1, neighbour.window * BUSY_WINDOW_SHARE);
      }
      if (outcome !== "failed") return false;
      neighbour.failures += 1;
      neighbour.window = 1;
      neighbour.restUntilMs = nowMs + Math.min(10_000, 250 * 2 ** neighbour.failures);
      if (neighbour.failures < GIVEN_UP_AFTER) return false;
      forget(peer);
      return true;
    },
    lags(peer) {
      const neighbour = known.get(peer);
      if (neighbour !== undefined) neighbour.window = 1;
    },
  };
}
