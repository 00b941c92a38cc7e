/** A piece's place in its blob, counted from 0. */
export type PieceIndex = number & { readonly __brand: "PieceIndex" };

/** How a blob is cut. It follows from the size alone, so that every member cuts alike. */
export interface PieceGeometry {
  readonly version: 1;
  readonly sizeBytes: number;
  readonly pieceSizeBytes: number;
  readonly pieceCount: number;
}

const MIN_PIECE_BYTES = 256 * 1024;
const MAX_PIECE_BYTES = 4 * 1024 * 1024;

/** Geometry version 1: clamp(pow2(size / 512), 256 KiB, 4 MiB), pow2 rounding up. */
export function pieceGeometry(sizeBytes: number): PieceGeometry {
  const wished = 2 ** Math.ceil(Math.log2(Math.max(1, sizeBytes / 512)));
  const pieceSizeBytes = Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, wished));
  return {
    version: 1,
    sizeBytes,
    pieceSizeBytes,
    pieceCount: Math.ceil(sizeBytes / pieceSizeBytes),
  };
}

/** Byte offset of a piece's start. */
export function pieceOffset(geometry: PieceGeometry, piece: PieceIndex): number {
  return piece * geometry.pieceSizeBytes;
}

/** Bytes of a piece: the last one may be shorter. */
export function pieceLength(geometry: PieceGeometry, piece: PieceIndex): number {
  return Math.min(geometry.pieceSizeBytes, geometry.sizeBytes - pieceOffset(geometry, piece));
}

/** The piece that holds the byte at `offset`. */
export function pieceAt(geometry: PieceGeometry, offset: number): PieceIndex {
  return Math.floor(offset / geometry.pieceSizeBytes) as PieceIndex;
}

/** Every piece of the blob, in order. */
export function* pieces(geometry: PieceGeometry): Generator<PieceIndex> {
  for (let piece = 0; piece < geometry.pieceCount; piece++) yield piece as PieceIndex;
}
