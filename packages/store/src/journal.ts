import { createHash } from "node:crypto";
import type { PieceIndex } from "./geometry.ts";

const MAGIC = "shoal-j1";
/** Magic, then the blob's size, big endian. */
export const JOURNAL_HEADER_BYTES = 16;
const HASH_BYTES = 32;
const CHECK_BYTES = 4;
/** Piece index, hash, check. */
export const JOURNAL_RECORD_BYTES = 4 + HASH_BYTES + CHECK_BYTES;
const DROPPED = Buffer.alloc(HASH_BYTES);

/** The beginning of a journal. */
export function journalHeader(sizeBytes: number): Buffer {
  const header = Buffer.alloc(JOURNAL_HEADER_BYTES);
  header.write(MAGIC, 0, "latin1");
  header.writeBigUInt64BE(BigInt(sizeBytes), 8);
  return header;
}

/** A record that says what a piece's sha256 is, or that the piece was taken back. */
export function journalRecord(piece: PieceIndex, hash: Uint8Array | undefined): Buffer {
  const record = Buffer.alloc(JOURNAL_RECORD_BYTES);
  record.writeUInt32BE(piece, 0);
  record.set(hash ?? DROPPED, 4);
  record.set(checkOf(record), 4 + HASH_BYTES);
  return record;
}

/**
 * Reads a journal. A record is written whole at its own place, so one that is torn, or missing because the
 * machine stopped, is skipped and takes no other with it.
 * @returns `undefined` when the journal is not one of a blob of this size
 */
export function readJournal(
  bytes: Buffer,
  sizeBytes: number,
  pieceCount: number,
): Map<PieceIndex, Uint8Array> | undefined {
  if (bytes.length < JOURNAL_HEADER_BYTES) return undefined;
  if (!bytes.subarray(0, JOURNAL_HEADER_BYTES).equals(journalHeader(sizeBytes))) return undefined;
  const hashes = new Map<PieceIndex, Uint8Array>();
  for (
    let at = JOURNAL_HEADER_BYTES;
    at + JOURNAL_RECORD_BYTES <= bytes.length;
    at += JOURNAL_RECORD_BYTES
  ) {
    const record = bytes.subarray(at, at + JOURNAL_RECORD_BYTES);
    const piece = record.readUInt32BE(0) as PieceIndex;
    const hash = record.subarray(4, 4 + HASH_BYTES);
    if (!checkOf(record).equals(record.subarray(4 + HASH_BYTES)) || piece >= pieceCount) continue;
    if (hash.equals(DROPPED)) hashes.delete(piece);
    else hashes.set(piece, Uint8Array.from(hash));
  }
  return hashes;
}

function checkOf(record: Buffer): Buffer {
  return createHash("sha256")
    .update(record.subarray(0, 4 + HASH_BYTES))
    .digest()
    .subarray(0, CHECK_BYTES);
}
