import type { Clock } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { PeerIdString } from "./transport.ts";

/** News wait at least this long for company, and at most. Milliseconds. */
const SHORTEST_MS = 30;
const LONGEST_MS = 2000;
/** About so many messages tell all neighbours of a whole blob's pieces. */
const MESSAGES = 1200;
/** Where everybody hears of a piece from who has brought it, another source of it is no great news. */
const MESSAGES_IN_MESH = 300;
const LEAST_IN_MESH_PIECES = 8;
/** The first pieces of a blob are told of at once: a neighbour that has nothing to do waits for them. */
const FIRST_PIECES = 8;

export interface NewsComponents {
  readonly clock: Clock;
  readonly pieceCount: number;
  /** How many pieces this member lacks. */
  readonly missing: () => number;
  /** Whether all participants are neighbours. */
  readonly mesh: () => boolean;
  /** How many hear of it. */
  readonly subscribers: () => number;
  /** Those of them that lack the piece. */
  readonly audience: (piece: PieceIndex) => readonly PeerIdString[];
  readonly send: (peer: PeerIdString, pieces: readonly PieceIndex[]) => void;
}

/**
 * Tells neighbours of pieces that have arrived, in batches: all members together must not drown each other.
 * What this machine has brought into the site itself nobody else has; that waits for the shortest time only.
 */
export interface News extends Disposable {
  add(piece: PieceIndex, brought: boolean): void;
  /** The blob is whole: tells what others may wait for. */
  flush(): void;
}

export function createNews(components: NewsComponents): News {
  const { clock, pieceCount, missing, mesh, subscribers, audience, send } = components;
  let waiting: PieceIndex[] = [];
  let broughtWaits = false;
  let told = 0;
  let timer: Disposable | undefined;
  let dueMs = Number.POSITIVE_INFINITY;

  /** At the start there is nothing to give yet, at the end nothing else to wait for. */
  function batchPieces(): number {
    const messages = mesh() ? MESSAGES_IN_MESH : MESSAGES;
    const pieces = Math.ceil((pieceCount * subscribers()) / messages);
    if (mesh()) return Math.max(LEAST_IN_MESH_PIECES, pieces);
    return told < FIRST_PIECES || missing() < pieces ? 1 : pieces;
  }

  function flushWithin(delayMs: number): void {
    const atMs = clock.now() + delayMs;
    if (atMs >= dueMs) return;
    timer?.[Symbol.dispose]();
    dueMs = atMs;
    timer = clock.schedule(delayMs, flush);
  }

  function flush(): void {
    timer?.[Symbol.dispose]();
    timer = undefined;
    dueMs = Number.POSITIVE_INFINITY;
    const pieces = waiting;
    waiting = [];
    broughtWaits = false;
    told += pieces.length;
    const batches = new Map<PeerIdString, PieceIndex[]>();
    for (const piece of pieces)
      for (const peer of audience(piece)) {
        const batch = batches.get(peer);
        if (batch === undefined) batches.set(peer, [piece]);
        else batch.push(piece);
      }
    for (const [peer, batch] of batches) send(peer, batch);
  }

  return {
    add(piece, brought) {
      waiting.push(piece);
      broughtWaits ||= brought;
      const soon = brought || waiting.length >= batchPieces();
      flushWithin(soon ? SHORTEST_MS : LONGEST_MS);
    },
    flush() {
      // Those who lack them have heard of who brought them, and hear of a new holder from the coordinator.
      if (broughtWaits || !mesh()) flush();
    },
    [Symbol.dispose]() {
      timer?.[Symbol.dispose]();
      waiting = [];
    },
  };
}
