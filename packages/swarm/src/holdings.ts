import type { Clock, Logger } from "@shoal/runtime";
import { type BlobHandle, type PieceIndex, pieceGeometry, type Store } from "@shoal/store";
import type { Notary } from "./attestation.ts";
import type { Attestation } from "./wire/messages.ts";

/** A piece that was read and found right is believed this long, since disks rot slowly. Milliseconds. */
const BELIEVED_MS = 600_000;
/** A holder vouches for a run of pieces at a time: a signature costs as much as hashing 100 KiB. */
const RUN_PIECES = 16;

/** Vouches for pieces of whole blobs, and only for those whose bytes are still right. */
export interface Holdings {
  /**
   * @param whole the piece as it has just been read, where it has: it is not read again to be checked
   * @returns `undefined` when the bytes on the disk are no longer those that were verified
   */
  attest(
    handle: BlobHandle,
    piece: PieceIndex,
    whole?: Uint8Array,
  ): Promise<Attestation | undefined>;
}

interface Held {
  readonly checkedMs: Map<PieceIndex, number>;
  readonly runs: Map<number, Promise<Attestation | undefined>>;
}

export function createHoldings(components: {
  readonly notary: Notary;
  readonly store: Pick<Store, "doubt">;
  readonly clock: Clock;
  readonly logger: Logger;
}): Holdings {
  const { notary, store, clock, logger } = components;
  const known = new WeakMap<BlobHandle, Held>();

  async function signRun(handle: BlobHandle, first: number): Promise<Attestation | undefined> {
    const { pieceCount } = pieceGeometry(handle.sizeBytes);
    const hashes: Uint8Array[] = [];
    for (let piece = first; piece < Math.min(pieceCount, first + RUN_PIECES); piece++) {
      const hash = await handle.pieceHash(piece as PieceIndex);
      if (hash === undefined) return undefined;
      hashes.push(hash);
    }
    return await notary.sign(handle, first as PieceIndex, Buffer.concat(hashes), "holder");
  }

  async function intact(
    handle: BlobHandle,
    piece: PieceIndex,
    held: Held,
    whole: Uint8Array | undefined,
  ): Promise<boolean> {
    const checkedMs = held.checkedMs.get(piece);
    if (checkedMs !== undefined && clock.now() - checkedMs < BELIEVED_MS) return true;
    if (await handle.intact(piece, whole)) {
      held.checkedMs.set(piece, clock.now());
      return true;
    }
    void store.doubt(handle.digest);
    logger.warn(
      { digest: handle.digest, piece },
      "a blob is no longer what it was on this machine's disk; its piece is given to nobody; look at the disk",
    );
    return false;
  }

  return {
    async attest(handle, piece, whole) {
      const held = known.get(handle) ?? { checkedMs: new Map(), runs: new Map() };
      known.set(handle, held);
      if (!(await intact(handle, piece, held, whole))) return undefined;
      const first = piece - (piece % RUN_PIECES);
      const signing = held.runs.get(first) ?? signRun(handle, first);
      held.runs.set(first, signing);
      return await signing;
    },
  };
}
