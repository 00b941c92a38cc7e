import type { AbortOptions } from "@shoal/runtime";
import { type BlobHandle, type ByteRange, pieceAt, pieceOffset } from "@shoal/store";
import type { Transfer, TransferUser } from "./transfer.ts";

/** The end of every body is held back until the digest has matched. */
export const HELD_BACK_BYTES = 64 * 1024;
const CHUNK_BYTES = 1024 * 1024;

/** The first byte that is shown only when the blob is verified. */
export function heldBackFrom(sizeBytes: number): number {
  return Math.max(0, sizeBytes - HELD_BACK_BYTES);
}

/**
 * Reads a blob that is arriving: pieces that this machine read from the upstream as they come, all others
 * and the held-back end when the blob is verified. Throws what ends the transfer.
 */
export async function* readArriving(
  transfer: Transfer,
  user: TransferUser,
  open: () => Promise<BlobHandle>,
  range: ByteRange,
  options: AbortOptions,
): AsyncGenerator<Uint8Array, void> {
  const { arrival, sizeBytes } = transfer;
  const showable = heldBackFrom(sizeBytes);
  let at = range.start;
  while (at < range.end) {
    options.signal?.throwIfAborted();
    if (transfer.state === "committed") break;
    if (transfer.state === "failed") throw transfer.failure;
    const piece = pieceAt(arrival.geometry, at);
    user.cursor = piece;
    const pieceEnd = pieceOffset(arrival.geometry, piece) + arrival.geometry.pieceSizeBytes;
    const until = Math.min(pieceEnd, range.end, showable, at + CHUNK_BYTES);
    const change = arrival.changed(options.signal);
    change.catch(() => undefined);
    const bytes =
      until > at && arrival.origin(piece) === "upstream"
        ? await arrival.read(at, until - at)
        : undefined;
    if (bytes === undefined) {
      await change;
      continue;
    }
    yield bytes;
    at += bytes.length;
  }
  user.cursor = undefined;
  if (at >= range.end) return;
  await using handle = await open();
  yield* handle.stream({ start: at, end: range.end }, options);
}
