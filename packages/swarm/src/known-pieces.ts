import { keepNewest } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { Attested } from "./attestation.ts";

const HASH_BYTES = 32;
/** Blobs that are remembered, and pieces of one at most: together 16 MiB. */
const MOST_BLOBS = 64;
const MOST_PIECES = 8192;

/** sha256 of each piece of a verified blob, one after another. */
export type PieceHashes = Uint8Array;

/** The sha256 of one of them. */
export function hashAt(hashes: PieceHashes, piece: PieceIndex): Uint8Array {
  return hashes.subarray(piece * HASH_BYTES, (piece + 1) * HASH_BYTES);
}

/** What the blobs are made of that have been verified here and could not be kept; the newest of them. */
export interface KnownPieces {
  of(blob: Attested): PieceHashes | undefined;
  add(blob: Attested, hashes: PieceHashes): void;
}

export function createKnownPieces(): KnownPieces {
  const known = new Map<string, PieceHashes>();
  return {
    of: (blob) => known.get(keyOf(blob)),
    add(blob, hashes) {
      if (hashes.length > MOST_PIECES * HASH_BYTES) return;
      keepNewest(known, keyOf(blob), hashes, MOST_BLOBS);
    },
  };
}

function keyOf({ digest, sizeBytes }: Attested): string {
  return `${digest}/${sizeBytes}`;
}
