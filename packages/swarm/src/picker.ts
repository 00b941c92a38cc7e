import type { PieceIndex, ReadonlyBitfield } from "@shoal/store";
import { eachPiece, type PieceSet } from "./piece-set.ts";
import type { PeerIdString } from "./transport.ts";

/** How many pieces ahead of each reader's cursor go before rarest first. */
const CURSOR_PIECES = 2;
/** The first pieces are picked at random, so that a crowd does not begin with the same ones. */
const RANDOM_PIECES = 4;

/** Somebody who has pieces, as the picker sees it. */
export interface Source {
  readonly peer: PeerIdString;
  readonly have: Pick<PieceSet, "has" | "words" | "count">;
  /** Requests under way to it. */
  readonly outstanding: number;
  /** Most requests at a time that it may get; what it delivers in a given time follows from it. */
  readonly window: number;
}

export interface PickState {
  readonly pieceCount: number;
  readonly have: ReadonlyBitfield;
  /** Whether a piece is on its way already. */
  readonly pending: (piece: PieceIndex) => boolean;
  /** How many neighbours have each piece. */
  readonly availability: Uint16Array;
  /** Pieces that readers are at. */
  readonly cursors: Iterable<PieceIndex>;
  readonly sources: readonly Source[];
}

export interface Choice {
  readonly piece: PieceIndex;
  readonly peer: PeerIdString;
}

/**
 * The next piece to ask for, and whom: cursor, then the first four at random, then rarest first with random
 * ties, or in order where all sources are holders; of the sources the least loaded. `undefined` when nobody
 * with room has anything that is missing.
 */
export function pick(state: PickState, random: () => number): Choice | undefined {
  const free = state.sources.filter((source) => source.outstanding < source.window);
  if (free.length === 0) return undefined;
  const wanted = (piece: PieceIndex): boolean => !state.have.has(piece) && !state.pending(piece);

  for (const cursor of state.cursors) {
    for (let ahead = 0; ahead < CURSOR_PIECES; ahead++) {
      const piece = (cursor + ahead) as PieceIndex;
      if (piece >= state.pieceCount || !wanted(piece)) continue;
      const peer = leastLoaded(free, piece, random);
      if (peer !== undefined) return { piece, peer };
    }
  }

  const offered = free[0]!.have.words.slice();
  for (const { have } of free)
    for (let at = 0; at < offered.length; at++) offered[at]! |= have.words[at]!;
  const rarityMatters = state.have.count >= RANDOM_PIECES;
  // Nobody is helped by an order: the blob's own lets its hash keep pace, and a commit wait for nothing.
  const inOrder =
    rarityMatters && state.sources.every(({ have }) => have.count === state.pieceCount);
  let best: PieceIndex | undefined;
  let bestRarity = Number.POSITIVE_INFINITY;
  let ties = 0;
  eachPiece(offered, (piece) => {
    const rarity = rarityMatters ? state.availability[piece]! : 1;
    if (rarity > bestRarity || (inOrder && best !== undefined) || !wanted(piece)) return;
    if (rarity < bestRarity) ties = 0;
    bestRarity = rarity;
    ties += 1;
    // Reservoir sampling: each of the ties is as likely as the others.
    if (random() * ties < 1) best = piece;
  });
  const peer = best === undefined ? undefined : leastLoaded(free, best, random);
  return best === undefined || peer === undefined ? undefined : { piece: best, peer };
}

/** The source with the least under way for what it delivers that has the piece; ties at random. */
export function leastLoaded(
  sources: readonly Source[],
  piece: PieceIndex,
  random: () => number,
): PeerIdString | undefined {
  let best: PeerIdString | undefined;
  let bestLoad = Number.POSITIVE_INFINITY;
  let ties = 0;
  for (const { peer, have, outstanding, window } of sources) {
    const load = (outstanding + 1) / window;
    if (outstanding >= window || load > bestLoad || !have.has(piece)) continue;
    if (load < bestLoad) ties = 0;
    bestLoad = load;
    ties += 1;
    if (random() * ties < 1) best = peer;
  }
  return best;
}
