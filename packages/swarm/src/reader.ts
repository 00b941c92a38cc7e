import type { Digest } from "@shoal/oci";
import { type AbortOptions, CodedError } from "@shoal/runtime";
import {
  type BlobHandle,
  type ByteRange,
  pieceAt,
  type PieceIndex,
  pieceOffset,
} from "@shoal/store";
import type { Transfer } from "./transfer.ts";
import type { TransferUser } from "./transfer-users.ts";

const CHUNK_BYTES = 1024 * 1024;

/**
 * Reads a blob that is arriving: pieces that this machine read from the upstream as they come, and so those that
 * a member in good standing vouches for, if the end is wanted, too; all others and the held-back end when the
 * blob is verified. What was shown and has turned out to be wrong ends the reading.
 * @param what the range, and in `showable` the first byte that is shown only when the blob is verified
 * @throws ERR_DIGEST_MISMATCH, and what ends the transfer
 */
export async function* readArriving(
  transfer: Transfer,
  user: TransferUser,
  open: () => Promise<BlobHandle>,
  what: { readonly range: ByteRange; readonly showable: number },
  options: AbortOptions,
): AsyncGenerator<Uint8Array, void> {
  const { arrival } = transfer;
  const { range, showable } = what;
  const shown = new Map<PieceIndex, Uint8Array>();
  // Without the held-back end nothing would tell the client that it has been shown wrong bytes.
  const early = range.end > showable;
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
    const may = arrival.origin(piece) === "upstream" || (early && transfer.wellVouched(piece));
    const hash = transfer.pieceHash(piece);
    const bytes = until > at && may ? await arrival.read(at, until - at) : undefined;
    if (bytes === undefined || hash === undefined || hash !== transfer.pieceHash(piece)) {
      await change;
      continue;
    }
    ensureSame(shown.get(piece) ?? hash, hash, transfer.digest);
    shown.set(piece, hash);
    yield bytes;
    at += bytes.length;
  }
  user.cursor = undefined;
  for (const [piece, hash] of shown) ensureSame(hash, transfer.pieceHash(piece), transfer.digest);
  if (at >= range.end) return;
  await using handle = await open();
  yield* handle.stream({ start: at, end: range.end }, options);
}

function ensureSame(shown: Uint8Array, now: Uint8Array | undefined, digest: Digest): void {
  if (now !== undefined && Buffer.compare(shown, now) === 0) return;
  throw new CodedError(
    "ERR_DIGEST_MISMATCH",
    "bytes that were shown before the blob was verified have turned out to be wrong; ask for it again",
    { details: { digest } },
  );
}
