import { CodedError, raceSignal } from "@shoal/runtime";
import {
  type Ingest,
  type PieceGeometry,
  type PieceIndex,
  pieceLength,
  type ReadonlyBitfield,
} from "@shoal/store";
import type { PeerIdString } from "./transport.ts";
import type { TransferProgress } from "./types.ts";

/** Where a piece came from; `store` is what an earlier transfer left. */
export type Origin = PeerIdString | "upstream" | "store";

/** The pieces of one blob as they arrive, each with its origin. */
export interface Arrival {
  readonly geometry: PieceGeometry;
  readonly have: ReadonlyBitfield;
  /** Whether the piece is here or being written. */
  taken(piece: PieceIndex): boolean;
  origin(piece: PieceIndex): Origin | undefined;
  /**
   * Stores a piece, unless it is there. `sha256` is what its bytes must have; they are this arrival's from now on.
   * @throws ERR_PIECE_MISMATCH, ERR_STORE_FULL, ERR_STORE_IO
   */
  add(piece: PieceIndex, bytes: Uint8Array, origin: Origin, sha256?: Uint8Array): Promise<boolean>;
  /** Bytes of pieces that are here, or `undefined` when one is missing or the ingest is closed. */
  read(offset: number, length: number): Promise<Uint8Array | undefined>;
  /** Gives pieces up, so that they are fetched again. */
  drop(pieces: Iterable<PieceIndex>): Promise<void>;
  /** While sealed nothing is added, and reads may find the ingest closed. */
  readonly sealed: boolean;
  seal(sealed: boolean): void;
  progress(): TransferProgress;
  /** Resolves at the next change, of pieces or of what `ring` stands for. */
  changed(signal?: AbortSignal): Promise<void>;
  ring(): void;
  /** Monotonic time of the last piece, or of the start. */
  readonly lastPieceMs: number;
}

/** @param now monotonic milliseconds */
export function createArrival(ingest: Ingest, now: () => number): Arrival {
  const { geometry } = ingest;
  const origins = new Map<PieceIndex, Origin>();
  const writing = new Set<PieceIndex>();
  const bytesFrom = { upstream: 0, peers: 0, store: 0 };
  let bell = Promise.withResolvers<void>();
  let lastPieceMs = now();
  let sealed = false;

  for (const piece of ingest.have) {
    origins.set(piece, "store");
    bytesFrom.store += pieceLength(geometry, piece);
  }

  function kind(origin: Origin): keyof typeof bytesFrom {
    if (origin === "upstream") return "upstream";
    return origin === "store" ? "store" : "peers";
  }

  function ring(): void {
    const rung = bell;
    bell = Promise.withResolvers<void>();
    rung.resolve();
  }

  return {
    geometry,
    have: ingest.have,
    taken: (piece) => ingest.have.has(piece) || writing.has(piece),
    origin: (piece) => origins.get(piece),
    async add(piece, bytes, origin, sha256) {
      if (sealed || ingest.have.has(piece) || writing.has(piece)) return false;
      const lengthBytes = bytes.length;
      writing.add(piece);
      try {
        await ingest.write(piece, bytes, { sha256, owned: true });
      } finally {
        writing.delete(piece);
      }
      origins.set(piece, origin);
      bytesFrom[kind(origin)] += lengthBytes;
      lastPieceMs = now();
      ring();
      return true;
    },
    async read(offset, length) {
      const { pieceSizeBytes } = geometry;
      for (let at = offset - (offset % pieceSizeBytes); at < offset + length; at += pieceSizeBytes)
        if (!ingest.have.has((at / pieceSizeBytes) as PieceIndex)) return undefined;
      try {
        return await ingest.read(offset, length);
      } catch (error) {
        if (sealed) return undefined;
        throw error;
      }
    },
    async drop(pieces) {
      const dropped = [...pieces].filter((piece) => ingest.have.has(piece));
      for (const piece of dropped) {
        bytesFrom[kind(origins.get(piece) ?? "store")] -= pieceLength(geometry, piece);
        origins.delete(piece);
      }
      await ingest.drop(dropped);
    },
    get sealed() {
      return sealed;
    },
    seal(closing) {
      sealed = closing;
    },
    progress: () => ({
      sizeBytes: geometry.sizeBytes,
      arrivedBytes: bytesFrom.upstream + bytesFrom.peers + bytesFrom.store,
      fromUpstreamBytes: bytesFrom.upstream,
      fromPeersBytes: bytesFrom.peers,
      fromStoreBytes: bytesFrom.store,
    }),
    async changed(signal) {
      await raceSignal(bell.promise, signal);
    },
    ring,
    get lastPieceMs() {
      return lastPieceMs;
    },
  };
}

/** What readers and askers of a transfer that has ended get. */
export function transferEnded(): CodedError<"ERR_TRANSFER_ENDED"> {
  return new CodedError(
    "ERR_TRANSFER_ENDED",
    "the transfer of this blob was ended because nobody waited for it any more; ask for it again",
  );
}
