import { freeMemory } from "@shoal/runtime";
import { createDigester, type Digest, type Digester } from "@shoal/oci";
import { type PieceGeometry, type PieceIndex, pieceLength } from "./geometry.ts";
import type { ReadonlyBitfield } from "./bitfield.ts";
import { pieceMissing } from "./failures.ts";

/** Pieces that came early are kept in memory up to this many bytes: with eight connections, few come in order. */
const EARLY_BYTES = 8 * 1024 * 1024;

/**
 * Hashes a blob from its start as its pieces come, so that a commit need not read it all again. Pieces that
 * came too early to be kept are read back, one at a time, when the hash gets to them.
 */
export interface PrefixHash {
  /**
   * A piece has been written; its bytes, which nobody changes any more, save reading them back. Those that are
   * `owned` are freed when they are hashed, or at once.
   */
  written(piece: PieceIndex, bytes: Uint8Array, owned?: boolean): void;
  /** Pieces were taken back: a hash that has passed one of them starts over. */
  dropped(pieces: Iterable<PieceIndex>): void;
  /** The digest of the whole blob, when every piece is there. @throws ERR_PIECE_MISSING */
  finish(): Promise<Digest>;
}

interface Kept {
  readonly bytes: Uint8Array;
  readonly owned: boolean;
}

function free({ bytes, owned }: Kept): void {
  if (owned) freeMemory(bytes);
}

export function createPrefixHash(
  digest: Digest,
  geometry: PieceGeometry,
  have: ReadonlyBitfield,
  readPiece: (piece: PieceIndex, lengthBytes: number) => Promise<Uint8Array>,
): PrefixHash {
  let digester: Digester = createDigester(digest);
  let next = 0 as PieceIndex;
  let generation = 0;
  let running: Promise<void> | undefined;
  const early = new Map<PieceIndex, Kept>();
  let earlyBytes = 0;

  function take(piece: Kept): void {
    digester.update(piece.bytes);
    next = (next + 1) as PieceIndex;
    free(piece);
  }

  function keep(index: PieceIndex, piece: Kept): void {
    if (earlyBytes + piece.bytes.length > EARLY_BYTES) return free(piece);
    early.set(index, piece);
    earlyBytes += piece.bytes.length;
  }

  function takeKept(index: PieceIndex): Kept | undefined {
    const piece = early.get(index);
    if (piece === undefined) return undefined;
    early.delete(index);
    earlyBytes -= piece.bytes.length;
    return piece;
  }

  function takeAllKept(): void {
    for (let piece = takeKept(next); piece !== undefined; piece = takeKept(next)) take(piece);
  }

  async function catchUp(): Promise<void> {
    while (next < geometry.pieceCount && have.has(next)) {
      takeAllKept();
      if (next >= geometry.pieceCount || !have.has(next)) return;
      const before = generation;
      const bytes = await readPiece(next, pieceLength(geometry, next));
      if (before === generation) take({ bytes, owned: true });
    }
  }

  function run(): Promise<void> {
    running ??= catchUp().finally(() => {
      running = undefined;
    });
    return running;
  }

  return {
    written(index, bytes, owned = false) {
      const piece = { bytes, owned };
      if (index < next) return free(piece);
      if (index === next && running === undefined) {
        take(piece);
        takeAllKept();
      } else keep(index, piece);
      // What fails here fails again, and is told, at the commit.
      if (have.has(next)) run().catch(() => undefined);
    },
    dropped(pieces) {
      let first = next;
      for (const piece of pieces) {
        // One that is being read back is not the one that will be there.
        generation += 1;
        takeKept(piece);
        if (piece < first) first = piece;
      }
      if (first === next) return;
      digester = createDigester(digest);
      next = 0 as PieceIndex;
    },
    async finish() {
      while (next < geometry.pieceCount) {
        if (!have.has(next)) throw pieceMissing(next);
        await run();
      }
      return digester.digest();
    },
  };
}
