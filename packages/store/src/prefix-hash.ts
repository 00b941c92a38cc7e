import { createDigester, type Digest, type Digester } from "@shoal/oci";
import { type PieceGeometry, type PieceIndex, pieceLength } from "./geometry.ts";
import type { ReadonlyBitfield } from "./bitfield.ts";
import { pieceMissing } from "./failures.ts";

/**
 * Hashes a blob from its start as its pieces come, so that a commit need not read it all again. Pieces that
 * came early are read back, one at a time, when the hash gets to them.
 */
export interface PrefixHash {
  /** A piece has been written; its bytes save reading them back when it is the next one. */
  written(piece: PieceIndex, bytes: Uint8Array): void;
  /** Pieces were taken back: a hash that has passed one of them starts over. */
  dropped(pieces: Iterable<PieceIndex>): void;
  /** The digest of the whole blob, when every piece is there. @throws ERR_PIECE_MISSING */
  finish(): Promise<Digest>;
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

  function take(bytes: Uint8Array): void {
    digester.update(bytes);
    next = (next + 1) as PieceIndex;
  }

  async function catchUp(): Promise<void> {
    while (next < geometry.pieceCount && have.has(next)) {
      const before = generation;
      const bytes = await readPiece(next, pieceLength(geometry, next));
      if (before === generation) take(bytes);
    }
  }

  function run(): Promise<void> {
    running ??= catchUp().finally(() => {
      running = undefined;
    });
    return running;
  }

  return {
    written(piece, bytes) {
      if (piece === next && running === undefined) take(bytes);
      // What fails here fails again, and is told, at the commit.
      if (have.has(next)) run().catch(() => undefined);
    },
    dropped(pieces) {
      let first = next;
      for (const piece of pieces) {
        // One that is being read back is not the one that will be there.
        generation += 1;
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
