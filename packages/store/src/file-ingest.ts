import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type AbortOptions, CodedError, syncFolder } from "@shoal/runtime";
import { createBitfield } from "./bitfield.ts";
import {
  digestMismatch,
  outOfRange,
  pieceLengthWrong,
  pieceMismatch,
  pieceMissing,
} from "./failures.ts";
import { type PieceIndex, pieceAt, pieceGeometry, pieceLength, pieceOffset } from "./geometry.ts";
import { createIngestData, type IngestData } from "./ingest-data.ts";
import { openIngestFiles } from "./ingest-files.ts";
import { createIngestJournal, type IngestJournal } from "./ingest-journal.ts";
import { sha256 } from "./piece-hashes.ts";
import { createPrefixHash } from "./prefix-hash.ts";
import { storeError, withStoreErrors } from "./store-io.ts";
import type { BlobInfo, Ingest, WriteOptions } from "./types.ts";

export interface FileIngestInit {
  readonly target: BlobInfo;
  readonly dataPath: string;
  readonly journalPath: string;
  /** Where the committed blob goes. */
  readonly blobPath: string;
  /** Reserves the room that is still needed, before a byte is written. @throws ERR_STORE_FULL */
  readonly reserve: (missingBytes: number) => Promise<void>;
  /** Keeps the hashes of the pieces of the verified blob. */
  readonly keepHashes: (hashes: ReadonlyMap<PieceIndex, Uint8Array>) => Promise<void>;
  /** The disk did not take something. */
  readonly onFault: (error: unknown) => void;
  /** Called once, when the ingest is closed by whichever way. */
  readonly onClosed: (outcome: "kept" | "committed" | "discarded") => void;
}

/** An ingest with the room that it still needs, for the store's reservations. */
export interface FileIngest extends Ingest {
  readonly missingBytes: number;
}

/**
 * Opens an ingest, with what its files hold of it already.
 * @throws ERR_STORE_IO and what else storeError makes of a failing disk
 */
export async function openFileIngest(init: FileIngestInit): Promise<FileIngest> {
  const geometry = pieceGeometry(init.target.sizeBytes);
  const { data, journal, hashes } = await openIngestFiles({ ...init, geometry });
  return createFileIngest(
    init,
    createIngestData(data, init.dataPath),
    createIngestJournal(journal, hashes.size),
    hashes,
  );
}

function createFileIngest(
  init: FileIngestInit,
  data: IngestData,
  journal: IngestJournal,
  hashes: Map<PieceIndex, Uint8Array>,
): FileIngest {
  const { target, dataPath, journalPath, blobPath, onClosed } = init;
  const { digest, sizeBytes } = target;
  const geometry = pieceGeometry(sizeBytes);
  const have = createBitfield(geometry.pieceCount);
  for (const piece of hashes.keys()) have.set(piece);
  const prefix = createPrefixHash(digest, geometry, have, readPiece);
  const writing = new Map<PieceIndex, Promise<void>>();
  let committing = false;
  let closed = false;

  /** Writing: what fails at it fails for the store as a whole. */
  async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await withStoreErrors(path, work);
    } catch (error) {
      init.onFault(error);
      throw error;
    }
  }

  async function readPiece(piece: PieceIndex, length: number): Promise<Uint8Array> {
    return await withStoreErrors(dataPath, () => data.read(pieceOffset(geometry, piece), length));
  }

  async function writePiece(
    piece: PieceIndex,
    bytes: Uint8Array,
    { sha256: expected, owned }: WriteOptions,
  ): Promise<void> {
    // The disk takes the bytes while they are hashed; without a record they are as good as not there.
    const written = data.write(bytes, pieceOffset(geometry, piece));
    const hash = sha256(bytes);
    await written;
    if (expected !== undefined && Buffer.compare(hash, expected) !== 0) throw pieceMismatch(piece);
    await journal.append(piece, hash);
    hashes.set(piece, hash);
    have.set(piece);
    data.grown(bytes.length);
    prefix.written(piece, bytes, owned);
  }

  async function removeFiles(): Promise<void> {
    // Data without a journal is swept; a journal without data would tell of pieces that are not there.
    await rm(journalPath, { force: true });
    await rm(dataPath, { force: true });
  }

  async function close(outcome: "kept" | "committed" | "discarded"): Promise<void> {
    if (closed) return;
    closed = true;
    await Promise.allSettled(writing.values());
    await Promise.all([data.close(), journal.close()]);
    onClosed(outcome);
  }

  function ensureOpen(): void {
    if (closed || committing)
      throw new CodedError(
        "ERR_INGEST_CLOSED",
        `the ingest of ${digest} is ${closed ? "closed" : "being committed"}`,
      );
    if (data.syncFailure !== undefined) throw storeError(data.syncFailure, dataPath);
  }

  return {
    digest,
    sizeBytes,
    geometry,
    have,
    get missingBytes() {
      return Math.max(0, sizeBytes - have.count * geometry.pieceSizeBytes);
    },
    async write(piece, bytes, options: WriteOptions = {}) {
      options.signal?.throwIfAborted();
      if (!committing) ensureOpen();
      const length = pieceLength(geometry, piece);
      if (bytes.length !== length) throw pieceLengthWrong(piece, bytes.length, length);
      if (have.has(piece)) return;
      const under =
        writing.get(piece) ?? guarded(dataPath, () => writePiece(piece, bytes, options));
      writing.set(piece, under);
      try {
        await under;
      } finally {
        writing.delete(piece);
      }
    },
    async read(offset, length, options: AbortOptions = {}) {
      options.signal?.throwIfAborted();
      if (!committing) ensureOpen();
      if (offset < 0 || length < 0 || offset + length > sizeBytes)
        throw outOfRange(offset, length, sizeBytes);
      for (let at = offset; at < offset + length; ) {
        const piece = pieceAt(geometry, at);
        if (!have.has(piece)) throw pieceMissing(piece);
        at = pieceOffset(geometry, piece) + geometry.pieceSizeBytes;
      }
      return await withStoreErrors(dataPath, () => data.read(offset, length));
    },
    pieceHash: (piece) => hashes.get(piece),
    async drop(pieces) {
      ensureOpen();
      const dropped = [...pieces].filter((piece) => have.clear(piece));
      prefix.dropped(dropped);
      await guarded(journalPath, async () => {
        for (const piece of dropped) {
          hashes.delete(piece);
          await journal.append(piece, undefined);
        }
      });
    },
    async commit(options: AbortOptions = {}) {
      options.signal?.throwIfAborted();
      ensureOpen();
      for (let piece = 0; piece < geometry.pieceCount; piece++)
        if (!have.has(piece as PieceIndex)) throw pieceMissing(piece as PieceIndex);
      committing = true;
      try {
        const found = await prefix.finish();
        if (found !== digest) {
          // The hash is spent; another try begins at the first piece.
          prefix.dropped([0 as PieceIndex]);
          throw digestMismatch(digest, found);
        }
        await guarded(blobPath, async () => {
          await data.sync();
          await rename(dataPath, blobPath);
          await syncFolder(dirname(blobPath));
        });
      } finally {
        committing = false;
      }
      await init.keepHashes(hashes);
      await close("committed");
      // The blob is there; a journal that stays is found without its data, and removed.
      await rm(journalPath, { force: true }).catch(() => undefined);
      return { digest, sizeBytes };
    },
    async discard() {
      await close("discarded");
      await removeFiles();
    },
    async [Symbol.asyncDispose]() {
      const lost = !closed && data.syncFailure !== undefined;
      await close(lost ? "discarded" : "kept");
      if (lost) await removeFiles();
    },
  };
}
