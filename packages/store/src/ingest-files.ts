import { type FileHandle, open, readFile, rename } from "node:fs/promises";
import { type PieceGeometry, type PieceIndex, pieceLength, pieceOffset } from "./geometry.ts";
import { journalHeader, journalRecord, readJournal } from "./journal.ts";
import { sha256 } from "./piece-hashes.ts";
import { storeError, writeFully } from "./store-io.ts";

export interface IngestFilesInit {
  readonly geometry: PieceGeometry;
  readonly dataPath: string;
  readonly journalPath: string;
  /** Reserves the room that is still needed, before a byte is written. @throws ERR_STORE_FULL */
  readonly reserve: (missingBytes: number) => Promise<void>;
}

/** The open files of an ingest, with the hashes of the pieces that they hold. */
export interface IngestFiles {
  readonly data: FileHandle;
  readonly journal: FileHandle;
  readonly hashes: Map<PieceIndex, Uint8Array>;
}

/**
 * Opens the data file and the journal of an ingest. Pieces that the journal names are believed only when their
 * bytes still have the hash that was journaled: a page that was lost or has rotted is fetched again.
 * @throws ERR_STORE_IO and what else storeError makes of a failing disk
 */
export async function openIngestFiles(init: IngestFilesInit): Promise<IngestFiles> {
  const { geometry, dataPath, journalPath } = init;
  const { sizeBytes } = geometry;
  const files: FileHandle[] = [];
  try {
    const known = await readKnown(journalPath, geometry);
    const knownBytes = Math.min(sizeBytes, (known?.size ?? 0) * geometry.pieceSizeBytes);
    await init.reserve(sizeBytes - knownBytes);
    const data = await openData(dataPath, known === undefined ? "w+" : "r+");
    files.push(data);
    const journal = await open(`${journalPath}.tmp`, "w", 0o644);
    files.push(journal);
    await data.truncate(sizeBytes);
    const hashes =
      known === undefined
        ? new Map<PieceIndex, Uint8Array>()
        : await believed(data, geometry, known);
    const records = [...hashes].map(([piece, hash]) => journalRecord(piece, hash));
    await writeFully(journal, Buffer.concat([journalHeader(sizeBytes), ...records]), 0);
    await rename(`${journalPath}.tmp`, journalPath);
    return { data, journal, hashes };
  } catch (error) {
    await Promise.all(files.map(async (file) => await file.close()));
    throw storeError(error, dataPath);
  }
}

/** What is journaled already; `undefined` where there is no journal of this blob. */
async function readKnown(
  journalPath: string,
  { sizeBytes, pieceCount }: PieceGeometry,
): Promise<Map<PieceIndex, Uint8Array> | undefined> {
  try {
    return readJournal(await readFile(journalPath), sizeBytes, pieceCount);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Without its data a journal is worth nothing: none of its pieces will be believed. */
async function openData(dataPath: string, flags: "w+" | "r+"): Promise<FileHandle> {
  try {
    return await open(dataPath, flags, 0o644);
  } catch (error) {
    if (flags === "w+" || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return await open(dataPath, "w+", 0o644);
  }
}

/** Those of the journaled pieces whose bytes are in the data. */
async function believed(
  data: FileHandle,
  geometry: PieceGeometry,
  journaled: ReadonlyMap<PieceIndex, Uint8Array>,
): Promise<Map<PieceIndex, Uint8Array>> {
  const hashes = new Map<PieceIndex, Uint8Array>();
  const buffer = Buffer.allocUnsafeSlow(geometry.pieceSizeBytes);
  for (const [piece, hash] of journaled) {
    const length = pieceLength(geometry, piece);
    const { bytesRead } = await data.read(buffer, 0, length, pieceOffset(geometry, piece));
    const found = sha256(buffer.subarray(0, bytesRead));
    if (bytesRead === length && Buffer.compare(found, hash) === 0) hashes.set(piece, hash);
  }
  return hashes;
}
