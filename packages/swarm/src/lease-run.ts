import type { Digest, Repository } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import {
  type PieceGeometry,
  type PieceIndex,
  pieceAt,
  pieceLength,
  pieceOffset,
  type ReadonlyBitfield,
} from "@shoal/store";
import type { Upstream } from "@shoal/upstream";

/**
 * A lease that is not for a whole blob may lose its tail: it is read in ranges of this size, so that little is
 * on its way that nobody wants any more.
 */
const RANGE_BYTES = 4 * 1024 * 1024;
/** Longer leases are given only to a machine that is alone. */
const LONGEST_SHARED_BYTES = 16 * 1024 * 1024;

/** A lease as its lessee works on it. The coordinator may move `end` back while it runs. */
export interface RunningLease {
  id: number;
  epoch: number;
  readonly first: number;
  end: number;
  /** Bytes brought so far, those of unfinished pieces included. */
  doneBytes: number;
}

export interface LeaseRunComponents {
  readonly upstream: Pick<Upstream, "blob">;
  readonly repository: Repository;
  readonly digest: Digest;
  readonly geometry: PieceGeometry;
  /** Pieces that need no fetching any more. */
  readonly have: ReadonlyBitfield;
  /** Called with each whole piece; the bytes are the callee's. */
  readonly onPiece: (piece: PieceIndex, bytes: Uint8Array) => Promise<void>;
  /** Called with each chunk's length. */
  readonly onBytes: (lengthBytes: number) => void;
}

/**
 * Reads the pieces of a lease from the upstream, in order, until its end as it is by then. Pieces that
 * arrive from elsewhere meanwhile are skipped by a new request, when more than two in a row are there.
 */
export async function runLease(
  lease: RunningLease,
  components: LeaseRunComponents,
  signal: AbortSignal,
): Promise<void> {
  const { have, geometry } = components;
  let next = lease.first;
  while (next < lease.end) {
    if (have.has(next as PieceIndex)) {
      lease.doneBytes += pieceLength(geometry, next as PieceIndex);
      next += 1;
      continue;
    }
    next = await readRun(next, lease, components, signal);
  }
}

/** Reads from piece `from` on. @returns the piece to go on with */
async function readRun(
  from: number,
  lease: RunningLease,
  components: LeaseRunComponents,
  signal: AbortSignal,
): Promise<number> {
  const { upstream, repository, digest, geometry, have } = components;
  const start = pieceOffset(geometry, from as PieceIndex);
  const whole = (lease.end - lease.first) * geometry.pieceSizeBytes > LONGEST_SHARED_BYTES;
  const endPiece = whole ? lease.end : Math.min(lease.end, from + rangePieces(geometry));
  const end = Math.min(geometry.sizeBytes, endPiece * geometry.pieceSizeBytes);
  const response = await upstream.blob(repository, digest, {
    signal,
    sizeBytes: geometry.sizeBytes,
    ...(start > 0 ? { start } : {}),
    ...(end < geometry.sizeBytes ? { end } : {}),
  });
  if (response.sizeBytes !== undefined && response.sizeBytes !== geometry.sizeBytes)
    throw new CodedError(
      "ERR_BLOB_SIZE",
      `the registry's blob has ${response.sizeBytes} bytes, the manifest says ${geometry.sizeBytes}; the image is broken at its registry, push it again`,
      { details: { digest } },
    );

  let offset = response.start;
  let piece = pieceAt(geometry, offset);
  let buffer: Buffer | undefined;
  let filled = 0;
  for await (const chunk of response.body) {
    components.onBytes(chunk.length);
    if (piece >= lease.first && piece < lease.end) lease.doneBytes += chunk.length;
    let rest = chunk;
    while (rest.length > 0) {
      const length = pieceLength(geometry, piece);
      if (length <= 0)
        throw new CodedError(
          "ERR_BLOB_SIZE",
          `the registry sends more than the ${geometry.sizeBytes} bytes that the manifest says; the image is broken at its registry, push it again`,
          { details: { digest } },
        );
      buffer ??= Buffer.allocUnsafeSlow(length);
      const taken = Math.min(rest.length, length - filled);
      buffer.set(rest.subarray(0, taken), filled);
      filled += taken;
      offset += taken;
      rest = rest.subarray(taken);
      if (filled < length) continue;
      if (!have.has(piece)) await components.onPiece(piece, buffer);
      buffer = undefined;
      filled = 0;
      piece = (piece + 1) as PieceIndex;
      if (piece >= Math.min(lease.end, endPiece)) return piece;
      if (piece > from && threeAhead(have, piece)) return piece;
    }
  }
  if (piece < Math.min(lease.end, endPiece) && piece < geometry.pieceCount)
    throw new CodedError(
      "ERR_UPSTREAM_TRUNCATED",
      `the registry ended the blob at byte ${offset} of ${geometry.sizeBytes}; the image may be broken at its registry, push it again`,
      { details: { digest } },
    );
  return piece;
}

function rangePieces(geometry: PieceGeometry): number {
  return Math.max(1, Math.floor(RANGE_BYTES / geometry.pieceSizeBytes));
}

function threeAhead(have: ReadonlyBitfield, piece: PieceIndex): boolean {
  return [0, 1, 2].every((ahead) => have.has((piece + ahead) as PieceIndex));
}
