import { createHash } from "node:crypto";
import {
  type BlobHandle,
  type Ingest,
  type PieceIndex,
  pieceGeometry,
  type Store,
} from "@shoal/store";
import type { BlobOptions, Upstream } from "@shoal/upstream";

/** Below this a blob is told truly: configurations are no fun. */
const LEAST_BYTES = 1024 * 1024;

export interface Lies {
  readonly store: Store;
  readonly upstream: Upstream;
  /** Answers that held a lie. */
  readonly told: number;
}

/**
 * A store that keeps the truth and gives out lies, with hashes to match: whoever serves from it, and signs what
 * it serves, signs lies. It lies about what it has read from the upstream itself, and of whole blobs about
 * everything; with `sly` in one piece of each blob only.
 */
export function createLies(truth: { store: Store; upstream: Upstream }, sly: boolean): Lies {
  const lied = new Map<string, Set<number>>();
  let told = 0;

  function noteRead(digest: string, { start = 0, end, sizeBytes }: BlobOptions): void {
    if (sizeBytes === undefined || sizeBytes < LEAST_BYTES) return;
    const { pieceSizeBytes, pieceCount } = pieceGeometry(sizeBytes);
    const pieces = lied.get(digest) ?? new Set<number>();
    lied.set(digest, pieces);
    const first = Math.ceil(start / pieceSizeBytes);
    const after = end === undefined ? pieceCount : Math.ceil(end / pieceSizeBytes);
    for (let piece = first; piece < after; piece++)
      if (!sly || pieces.size === 0) pieces.add(piece);
  }

  /** The bytes with one wrong bit in each piece that is lied about. */
  function lie(
    digest: string,
    pieceSizeBytes: number,
    offset: number,
    bytes: Uint8Array,
  ): Uint8Array {
    const wrong = new Uint8Array(bytes);
    let isLie = false;
    for (const piece of lied.get(digest) ?? []) {
      const at = piece * pieceSizeBytes + 17 - offset;
      if (at < 0 || at >= wrong.length) continue;
      wrong[at]! ^= 1;
      isLie = true;
    }
    if (isLie) told += 1;
    return isLie ? wrong : bytes;
  }

  function lyingIngest(ingest: Ingest): Ingest {
    const { digest } = ingest;
    const { pieceSizeBytes } = ingest.geometry;
    const hashes = new Map<PieceIndex, Uint8Array>();
    return over(ingest, {
      async write(piece: PieceIndex, bytes: Uint8Array, ...options: never[]): Promise<void> {
        const wrong = lie(digest, pieceSizeBytes, piece * pieceSizeBytes, bytes);
        hashes.set(piece, createHash("sha256").update(wrong).digest());
        await ingest.write(piece, bytes, ...options);
      },
      read: async (offset: number, length: number) =>
        lie(digest, pieceSizeBytes, offset, await ingest.read(offset, length)),
      pieceHash: (piece: PieceIndex) => ingest.pieceHash(piece) && hashes.get(piece),
    });
  }

  function lyingHandle(handle: BlobHandle): BlobHandle {
    const { digest, sizeBytes } = handle;
    const { pieceSizeBytes, pieceCount } = pieceGeometry(sizeBytes);
    if (!sly) noteRead(digest, { sizeBytes, end: pieceCount * pieceSizeBytes });
    const read = async (offset: number, length: number): Promise<Uint8Array> =>
      lie(digest, pieceSizeBytes, offset, await handle.read(offset, length));
    return over(handle, {
      read,
      async pieceHash(piece: PieceIndex) {
        const offset = piece * pieceSizeBytes;
        const bytes = await read(offset, Math.min(pieceSizeBytes, sizeBytes - offset));
        return createHash("sha256").update(bytes).digest();
      },
      intact: async () => true,
    });
  }

  return {
    store: over(truth.store, {
      async open(...asked: Parameters<Store["open"]>) {
        const handle = await truth.store.open(...asked);
        return handle && lyingHandle(handle);
      },
      openIngest: async (...asked: Parameters<Store["openIngest"]>) =>
        lyingIngest(await truth.store.openIngest(...asked)),
    }),
    upstream: over(truth.upstream, {
      async blob(...asked: Parameters<Upstream["blob"]>) {
        noteRead(asked[1], asked[2] ?? {});
        return await truth.upstream.blob(...asked);
      },
    }),
    get told() {
      return told;
    },
  };
}

/** `base` with some of it replaced; what is not, disposal too, is the base's. */
export function over<T extends object>(base: T, changes: object): T {
  return Object.assign(Object.create(base) as T, changes);
}
