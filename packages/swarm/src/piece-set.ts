import type { PieceIndex } from "@shoal/store";

/** Pieces as bits of 32-bit words, for work on many sets at a time. */
export interface PieceSet {
  readonly length: number;
  readonly count: number;
  /** Piece `i` is bit `i & 31` of word `i >> 5`. */
  readonly words: Uint32Array;
  has(piece: PieceIndex): boolean;
  /** @returns whether it is new */
  add(piece: PieceIndex): boolean;
  /** @returns whether it was there */
  delete(piece: PieceIndex): boolean;
}

/**
 * A set read from a bitfield in wire form (the first piece in the highest bit of the first byte), or one of
 * all pieces. @returns `undefined` when `wire` has the wrong length or a spare bit set
 */
export function pieceSetFrom(length: number, wire: Uint8Array | "all"): PieceSet | undefined {
  if (wire !== "all" && wire.length !== Math.ceil(length / 8)) return undefined;
  const set = createPieceSet(length);
  if (wire === "all") {
    for (let piece = 0; piece < length; piece++) set.add(piece as PieceIndex);
    return set;
  }
  for (let at = 0; at < wire.length; at++) {
    const byte = wire[at]!;
    for (let bit = 0; byte !== 0 && bit < 8; bit++) {
      if ((byte & (0x80 >> bit)) === 0) continue;
      if (at * 8 + bit >= length) return undefined;
      set.add((at * 8 + bit) as PieceIndex);
    }
  }
  return set;
}

function createPieceSet(length: number): PieceSet {
  const words = new Uint32Array(Math.ceil(length / 32));
  let count = 0;

  function has(piece: PieceIndex): boolean {
    return (words[piece >> 5]! & (1 << (piece & 31))) !== 0;
  }

  return {
    length,
    words,
    get count() {
      return count;
    },
    has: (piece) => piece < length && has(piece),
    add(piece) {
      if (piece >= length || has(piece)) return false;
      words[piece >> 5]! |= 1 << (piece & 31);
      count += 1;
      return true;
    },
    delete(piece) {
      if (piece >= length || !has(piece)) return false;
      words[piece >> 5]! &= ~(1 << (piece & 31));
      count -= 1;
      return true;
    },
  };
}

/** Calls `visit` with each piece of the words, in order. */
export function eachPiece(words: Uint32Array, visit: (piece: PieceIndex) => void): void {
  for (let at = 0; at < words.length; at++)
    for (let rest = words[at]!; rest !== 0; rest &= rest - 1)
      visit((at * 32 + 31 - Math.clz32(rest & -rest)) as PieceIndex);
}
