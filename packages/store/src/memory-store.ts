import { createDigester, type Digest, digestOf } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import { createBitfield } from "./bitfield.ts";
import {
  blobExists,
  blobTooLarge,
  digestMismatch,
  ingestOpen,
  outOfRange,
  pieceLengthWrong,
  pieceMismatch,
  pieceMissing,
  storeFull,
} from "./failures.ts";
import { type PieceIndex, pieceAt, pieceGeometry, pieceLength, pieceOffset } from "./geometry.ts";
import { createStoreListeners } from "./listeners.ts";
import { createPieceChecks, createPieceHashes, sha256 } from "./piece-hashes.ts";
import type {
  BlobHandle,
  BlobInfo,
  ByteRange,
  Ingest,
  RecordTable,
  Store,
  StoredImage,
  WriteOptions,
} from "./types.ts";

const CHUNK_BYTES = 1024 * 1024;

interface Arriving {
  readonly bytes: Uint8Array;
  readonly have: ReturnType<typeof createBitfield>;
  readonly hashes: Map<PieceIndex, Uint8Array>;
  open: boolean;
}

/** A store in memory, for tests and simulations. It verifies as the file store does. */
export function createMemoryStore(
  init: {
    /** Bytes of blobs and ingests that fit. @default unlimited */ readonly capacityBytes?: number;
  } = {},
): Store {
  const capacityBytes = init.capacityBytes ?? Number.POSITIVE_INFINITY;
  const blobs = new Map<Digest, Uint8Array>();
  const ingests = new Map<Digest, Arriving>();
  const tables = new Map<string, Map<string, string>>();
  const images = new Map<string, StoredImage>();
  const listeners = createStoreListeners();
  const pieceHashes = createPieceHashes(table("piece-hashes"));

  function usedBytes(): number {
    let sum = 0;
    for (const bytes of blobs.values()) sum += bytes.length;
    for (const { bytes } of ingests.values()) sum += bytes.length;
    return sum;
  }

  function reserve(sizeBytes: number): void {
    if (usedBytes() + sizeBytes > capacityBytes)
      throw storeFull(sizeBytes, Math.max(0, capacityBytes - usedBytes()));
  }

  function commit(digest: Digest, bytes: Uint8Array): BlobInfo {
    const info = { digest, sizeBytes: bytes.length };
    blobs.set(digest, bytes);
    listeners.emit("committed", info);
    return info;
  }

  function removeBlob(digest: Digest): boolean {
    const bytes = blobs.get(digest);
    if (bytes === undefined) return false;
    blobs.delete(digest);
    listeners.emit("removed", { digest, sizeBytes: bytes.length });
    return true;
  }

  function openHandle(digest: Digest, bytes: Uint8Array): BlobHandle {
    const read = (offset: number, length: number): Uint8Array => {
      if (offset < 0 || length < 0 || offset + length > bytes.length)
        throw outOfRange(offset, length, bytes.length);
      return Uint8Array.from(bytes.subarray(offset, offset + length));
    };
    return {
      digest,
      sizeBytes: bytes.length,
      async read(offset, length, options: AbortOptions = {}) {
        options.signal?.throwIfAborted();
        return read(offset, length);
      },
      async *stream(
        range: ByteRange = { start: 0, end: bytes.length },
        options: AbortOptions = {},
      ) {
        for (let at = range.start; at < range.end; at += CHUNK_BYTES) {
          options.signal?.throwIfAborted();
          yield read(at, Math.min(CHUNK_BYTES, range.end - at));
        }
      },
      ...createPieceChecks(
        bytes.length,
        async (offset, length) => read(offset, length),
        async () =>
          await pieceHashes.of({ digest, sizeBytes: bytes.length }, async (offset, length) =>
            read(offset, length),
          ),
      ),
      async [Symbol.asyncDispose]() {},
    };
  }

  function openIngest({ digest, sizeBytes }: BlobInfo): Ingest {
    if (blobs.has(digest)) throw blobExists(digest);
    const geometry = pieceGeometry(sizeBytes);
    let arriving = ingests.get(digest);
    if (arriving?.open === true) throw ingestOpen(digest);
    if (arriving !== undefined && arriving.bytes.length !== sizeBytes) {
      ingests.delete(digest);
      arriving = undefined;
    }
    if (arriving === undefined) {
      reserve(sizeBytes);
      arriving = {
        bytes: new Uint8Array(sizeBytes),
        have: createBitfield(geometry.pieceCount),
        hashes: new Map(),
        open: true,
      };
      ingests.set(digest, arriving);
    }
    arriving.open = true;
    const { bytes, have, hashes } = arriving;
    const state = arriving;

    return {
      digest,
      sizeBytes,
      geometry,
      have,
      async write(piece, piece_, options: WriteOptions = {}) {
        options.signal?.throwIfAborted();
        if (piece_.length !== pieceLength(geometry, piece))
          throw pieceLengthWrong(piece, piece_.length, pieceLength(geometry, piece));
        if (have.has(piece)) return;
        const hash = sha256(piece_);
        if (options.sha256 !== undefined && Buffer.compare(hash, options.sha256) !== 0)
          throw pieceMismatch(piece);
        bytes.set(piece_, pieceOffset(geometry, piece));
        hashes.set(piece, hash);
        have.set(piece);
      },
      async read(offset, length, options: AbortOptions = {}) {
        options.signal?.throwIfAborted();
        if (offset < 0 || length < 0 || offset + length > sizeBytes)
          throw outOfRange(offset, length, sizeBytes);
        for (let at = offset; at < offset + length; at = pieceEnd(at))
          if (!have.has(pieceAt(geometry, at))) throw pieceMissing(pieceAt(geometry, at));
        return Uint8Array.from(bytes.subarray(offset, offset + length));
      },
      pieceHash: (piece) => hashes.get(piece),
      async drop(pieces) {
        for (const piece of pieces) {
          have.clear(piece);
          hashes.delete(piece);
        }
      },
      async commit() {
        for (let piece = 0; piece < geometry.pieceCount; piece++)
          if (!have.has(piece as PieceIndex)) throw pieceMissing(piece as PieceIndex);
        const digester = createDigester(digest);
        digester.update(bytes);
        const found = digester.digest();
        if (found !== digest) throw digestMismatch(digest, found);
        await pieceHashes.keep(digest, hashes);
        state.open = false;
        ingests.delete(digest);
        return commit(digest, bytes);
      },
      async discard() {
        state.open = false;
        ingests.delete(digest);
      },
      async [Symbol.asyncDispose]() {
        state.open = false;
      },
    };

    function pieceEnd(at: number): number {
      return pieceOffset(geometry, pieceAt(geometry, at)) + geometry.pieceSizeBytes;
    }
  }

  function table<Value>(name: string): RecordTable<Value> {
    const rows = tables.get(name) ?? new Map<string, string>();
    tables.set(name, rows);
    return {
      async get(key) {
        const row = rows.get(key);
        return row === undefined ? undefined : (JSON.parse(row) as Value);
      },
      async put(key, value) {
        rows.set(key, JSON.stringify(value));
      },
      async delete(key) {
        rows.delete(key);
      },
      async *entries(prefix = "") {
        for (const key of [...rows.keys()].sort())
          if (key.startsWith(prefix)) yield [key, JSON.parse(rows.get(key)!) as Value] as const;
      },
    };
  }

  return {
    stat(digest) {
      const bytes = blobs.get(digest);
      return bytes === undefined ? undefined : { digest, sizeBytes: bytes.length };
    },
    keeps: (digest) => blobs.has(digest),
    // Nothing goes from memory to make room.
    used() {},
    // Nothing rots in memory: whoever says so means another's.
    doubt: async (digest) => removeBlob(digest),
    *blobs() {
      for (const [digest, bytes] of blobs) yield { digest, sizeBytes: bytes.length };
    },
    async open(digest) {
      const bytes = blobs.get(digest);
      return bytes === undefined ? undefined : openHandle(digest, bytes);
    },
    async readAll(digest, limitBytes) {
      const bytes = blobs.get(digest);
      if (bytes !== undefined && bytes.length > limitBytes)
        throw blobTooLarge(digest, bytes.length, limitBytes);
      return bytes === undefined ? undefined : Uint8Array.from(bytes);
    },
    async put(digest, bytes) {
      const known = blobs.get(digest);
      if (known !== undefined) return { digest, sizeBytes: known.length };
      const found = digestOf(bytes, digest.startsWith("sha512:") ? "sha512" : "sha256");
      if (found !== digest) throw digestMismatch(digest, found);
      reserve(bytes.length);
      return commit(digest, Uint8Array.from(bytes));
    },
    openIngest: async (target) => openIngest(target),
    remove: async (digest) => removeBlob(digest),
    isIndexOpen: true,
    table,
    async nameImage(image) {
      images.set(image.name, image);
    },
    images: async () => [...images.values()],
    async usage() {
      let blobBytes = 0;
      let ingestBytes = 0;
      for (const bytes of blobs.values()) blobBytes += bytes.length;
      for (const { bytes } of ingests.values()) ingestBytes += bytes.length;
      return {
        blobs: blobs.size,
        blobBytes,
        ingests: ingests.size,
        ingestBytes,
        freeBytes: Math.min(Number.MAX_SAFE_INTEGER, capacityBytes - blobBytes - ingestBytes),
      };
    },
    on: listeners.on,
    async [Symbol.asyncDispose]() {},
  };
}
