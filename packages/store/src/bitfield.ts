import type { PieceIndex } from "./geometry.ts";

/** Which pieces there are: one bit each, the first piece in the highest bit of the first byte, as in BitTorrent (BEP 3). */
export interface ReadonlyBitfield {
  readonly length: number;
  /** How many bits are set. */
  readonly count: number;
  readonly complete: boolean;
  has(piece: PieceIndex): boolean;
  /** The set pieces, in order. */
  [Symbol.iterator](): Iterator<PieceIndex>;
  /** A copy in wire form, `ceil(length / 8)` bytes, spare bits zero. */
  toBytes(): Uint8Array;
}

export interface Bitfield extends ReadonlyBitfield {
  /** @returns whether the bit changed. */
  set(piece: PieceIndex): boolean;
  /** @returns whether the bit changed. */
  clear(piece: PieceIndex): boolean;
}

/**
 * A bitfield of `length` pieces, empty or read from wire form.
 * @returns `undefined` when `bytes` has the wrong length or a spare bit set.
 */
export function bitfieldFromBytes(length: number, bytes: Uint8Array): Bitfield | undefined {
  const spareBits = bytes.length * 8 - length;
  if (bytes.length !== Math.ceil(length / 8)) return undefined;
  if (spareBits > 0 && (bytes[bytes.length - 1]! & ((1 << spareBits) - 1)) !== 0) return undefined;
  return bitfieldOver(length, Uint8Array.from(bytes));
}

export function createBitfield(length: number): Bitfield {
  return bitfieldOver(length, new Uint8Array(Math.ceil(length / 8)));
}

function bitfieldOver(length: number, bytes: Uint8Array): Bitfield {
  let count = 0;
  for (const byte of bytes) for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1;

  function flip(piece: PieceIndex, wanted: boolean): boolean {
    if (!(piece >= 0 && piece < length)) throw new RangeError(`piece ${piece} of ${length}`);
    const mask = 0x80 >> (piece & 7);
    const byte = bytes[piece >> 3]!;
    if (((byte & mask) !== 0) === wanted) return false;
    bytes[piece >> 3] = byte ^ mask;
    count += wanted ? 1 : -1;
    return true;
  }

  return {
    length,
    get count() {
      return count;
    },
    get complete() {
      return count === length;
    },
    has: (piece) =>
      piece >= 0 && piece < length && (bytes[piece >> 3]! & (0x80 >> (piece & 7))) !== 0,
    set: (piece) => flip(piece, true),
    clear: (piece) => flip(piece, false),
    *[Symbol.iterator]() {
      for (let piece = 0; piece < length; piece++)
        if ((bytes[piece >> 3]! & (0x80 >> (piece & 7))) !== 0) yield piece as PieceIndex;
    },
    toBytes: () => Uint8Array.from(bytes),
  };
}
