import { type FileHandle, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type AbortOptions, CodedError } from "@shoal/runtime";
import { createBitfield } from "./bitfield.ts";
import {
  digestMismatch,
  outOfRange,
  pieceLengthWrong,
  pieceMismatch,
  pieceMissing,
} from "./failures.ts";
import { type PieceIndex, pieceAt, pieceGeometry, pieceLength, pieceOffset } from "./geometry.ts";
import {
  JOURNAL_HEADER_BYTES,
  JOURNAL_RECORD_BYTES,
  journalHeader,
  journalRecord,
  readJournal,
} from "./journal.ts";
import { sha256 } from "./piece-hashes.ts";
import { createPrefixHash } from "./prefix-hash.ts";
import { storeError, syncFolder, withStoreErrors, writeFully } from "./store-io.ts";
import type { BlobInfo, Ingest, WriteOptions } from "./types.ts";

/** Dirty pages are written out in the background each so many bytes, so that a commit has little left to wait for. */
const SYNC_BYTES = 32 * 1024 * 1024;

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
 * Opens the data file and the journal of an ingest. Pieces that the journal names are believed only when their
 * bytes still have the hash that was journaled: a page that was lost or has rotted is fetched again.
 * @throws ERR_STORE_IO and what else storeError makes of a failing disk
 */
export async function openFileIngest(init: FileIngestInit): Promise<FileIngest> {
  const { target, dataPath, journalPath } = init;
  const { sizeBytes } = target;
  const geometry = pieceGeometry(sizeBytes);
  const files: FileHandle[] = [];
  try {
    const known = await readKnown();
    const knownBytes = Math.min(sizeBytes, (known?.size ?? 0) * geometry.pieceSizeBytes);
    await init.reserve(sizeBytes - knownBytes);
    const data = await openData(known === undefined ? "w+" : "r+");
    files.push(data);
    const journal = await open(`${journalPath}.tmp`, "w", 0o644);
    files.push(journal);
    await data.truncate(sizeBytes);
    const hashes =
      known === undefined ? new Map<PieceIndex, Uint8Array>() : await believe(data, known);
    const records = [...hashes].map(([piece, hash]) => journalRecord(piece, hash));
    await writeFully(journal, Buffer.concat([journalHeader(sizeBytes), ...records]), 0);
    await rename(`${journalPath}.tmp`, journalPath);
    return createFileIngest(init, data, journal, hashes);
  } catch (error) {
    await Promise.all(files.map(async (file) => await file.close()));
    throw storeError(error, dataPath);
  }

  async function readKnown(): Promise<Map<PieceIndex, Uint8Array> | undefined> {
    try {
      return readJournal(await readFile(journalPath), sizeBytes, geometry.pieceCount);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Without its data a journal is worth nothing: none of its pieces will be believed. */
  async function openData(flags: "w+" | "r+"): Promise<FileHandle> {
    try {
      return await open(dataPath, flags, 0o644);
    } catch (error) {
      if (flags === "w+" || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return await open(dataPath, "w+", 0o644);
    }
  }

  async function believe(
    data: FileHandle,
    journaled: ReadonlyMap<PieceIndex, Uint8Array>,
  ): Promise<Map<PieceIndex, Uint8Array>> {
    const believed = new Map<PieceIndex, Uint8Array>();
    const buffer = Buffer.allocUnsafeSlow(geometry.pieceSizeBytes);
    for (const [piece, hash] of journaled) {
      const length = pieceLength(geometry, piece);
      const { bytesRead } = await data.read(buffer, 0, length, pieceOffset(geometry, piece));
      const found = sha256(buffer.subarray(0, bytesRead));
      if (bytesRead === length && Buffer.compare(found, hash) === 0) believed.set(piece, hash);
    }
    return believed;
  }
}

function createFileIngest(
  init: FileIngestInit,
  data: FileHandle,
  journal: FileHandle,
  hashes: Map<PieceIndex, Uint8Array>,
): FileIngest {
  const { target, dataPath, journalPath, blobPath, onClosed } = init;
  const { digest, sizeBytes } = target;
  const geometry = pieceGeometry(sizeBytes);
  const have = createBitfield(geometry.pieceCount);
  for (const piece of hashes.keys()) have.set(piece);
  const prefix = createPrefixHash(digest, geometry, have, readPiece);
  const writing = new Map<PieceIndex, Promise<void>>();
  let journalEnd = JOURNAL_HEADER_BYTES + hashes.size * JOURNAL_RECORD_BYTES;
  const records: Uint8Array[] = [];
  let appending: Promise<void> | undefined;
  let lastAppend: Promise<void> = Promise.resolve();
  let lastWrite: Promise<void> = Promise.resolve();
  let unsyncedBytes = 0;
  let syncing: Promise<void> | undefined;
  /** Set for good by a failed sync: the kernel tells of lost pages once, and no later sync makes up for it. */
  let syncFailure: unknown;
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

  async function readAt(offset: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await data.read(buffer, 0, length, offset);
    if (bytesRead !== length)
      throw new CodedError("ERR_STORE_IO", `${dataPath} is shorter than it was; look at the disk`);
    return new Uint8Array(buffer.buffer, 0, length);
  }

  async function readPiece(piece: PieceIndex, length: number): Promise<Uint8Array> {
    return await withStoreErrors(dataPath, () => readAt(pieceOffset(geometry, piece), length));
  }

  /** Records that come while others are being written go together, in one write. */
  async function append(piece: PieceIndex, hash: Uint8Array | undefined): Promise<void> {
    records.push(journalRecord(piece, hash));
    appending ??= (async () => {
      await lastAppend.catch(() => undefined);
      const bytes = Buffer.concat(records.splice(0));
      appending = undefined;
      lastAppend = writeFully(journal, bytes, journalEnd);
      await lastAppend;
      journalEnd += bytes.length;
    })();
    await appending;
  }

  /** One write at a time: several to one file wait for each other in the kernel, and burn a core at it. */
  async function writeInTurn(bytes: Uint8Array, offset: number): Promise<void> {
    const turn = lastWrite.then(async () => await writeFully(data, bytes, offset));
    lastWrite = turn.catch(() => undefined);
    await turn;
  }

  async function writePiece(
    piece: PieceIndex,
    bytes: Uint8Array,
    { sha256: expected, owned }: WriteOptions,
  ): Promise<void> {
    // The disk takes the bytes while they are hashed; without a record they are as good as not there.
    const written = writeInTurn(bytes, pieceOffset(geometry, piece));
    const hash = sha256(bytes);
    await written;
    if (expected !== undefined && Buffer.compare(hash, expected) !== 0) throw pieceMismatch(piece);
    await append(piece, hash);
    hashes.set(piece, hash);
    have.set(piece);
    unsyncedBytes += bytes.length;
    prefix.written(piece, bytes, owned);
    if (unsyncedBytes < SYNC_BYTES || syncing !== undefined) return;
    unsyncedBytes = 0;
    syncing = sync()
      // The next write, or the commit, tells.
      .catch(() => undefined)
      .finally(() => {
        syncing = undefined;
      });
  }

  async function sync(): Promise<void> {
    if (syncFailure !== undefined) throw syncFailure;
    try {
      await data.datasync();
    } catch (error) {
      syncFailure = error;
      throw error;
    }
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
    await syncing;
    await Promise.all([data.close(), journal.close()]);
    onClosed(outcome);
  }

  function ensureOpen(): void {
    if (closed || committing)
      throw new CodedError(
        "ERR_INGEST_CLOSED",
        `the ingest of ${digest} is ${closed ? "closed" : "being committed"}`,
      );
    if (syncFailure !== undefined) throw storeError(syncFailure, dataPath);
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
      return await withStoreErrors(dataPath, () => readAt(offset, length));
    },
    pieceHash: (piece) => hashes.get(piece),
    async drop(pieces) {
      ensureOpen();
      const dropped = [...pieces].filter((piece) => have.clear(piece));
      prefix.dropped(dropped);
      await guarded(journalPath, async () => {
        for (const piece of dropped) {
          hashes.delete(piece);
          await append(piece, undefined);
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
          await syncing;
          await sync();
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
      const lost = !closed && syncFailure !== undefined;
      await close(lost ? "discarded" : "kept");
      if (lost) await removeFiles();
    },
  };
}
