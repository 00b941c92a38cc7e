import type { FileHandle } from "node:fs/promises";
import type { PieceIndex } from "./geometry.ts";
import { JOURNAL_HEADER_BYTES, JOURNAL_RECORD_BYTES, journalRecord } from "./journal.ts";
import { writeFully } from "./store-io.ts";

/** The journal file of an ingest, which grows by a record for each piece that comes or is taken back. */
export interface IngestJournal {
  /** Resolves when the record is written. What it throws is the file system's. */
  append(piece: PieceIndex, hash: Uint8Array | undefined): Promise<void>;
  close(): Promise<void>;
}

/** @param recordCount how many are in the file already */
export function createIngestJournal(file: FileHandle, recordCount: number): IngestJournal {
  let end = JOURNAL_HEADER_BYTES + recordCount * JOURNAL_RECORD_BYTES;
  const records: Uint8Array[] = [];
  let appending: Promise<void> | undefined;
  let lastAppend: Promise<void> = Promise.resolve();

  return {
    /** Records that come while others are being written go together, in one write. */
    async append(piece, hash) {
      records.push(journalRecord(piece, hash));
      appending ??= (async () => {
        await lastAppend.catch(() => undefined);
        const bytes = Buffer.concat(records.splice(0));
        appending = undefined;
        lastAppend = writeFully(file, bytes, end);
        await lastAppend;
        end += bytes.length;
      })();
      await appending;
    },
    close: async () => await file.close(),
  };
}
