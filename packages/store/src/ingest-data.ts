import type { FileHandle } from "node:fs/promises";
import { CodedError, createTurns } from "@shoal/runtime";
import { writeFully } from "./store-io.ts";

/** Dirty pages are written out in the background each so many bytes, so that a commit has little left to wait for. */
const SYNC_BYTES = 32 * 1024 * 1024;

/** The data file of an ingest. What its methods throw is the file system's. */
export interface IngestData {
  /** Set for good by a failed sync: the kernel tells of lost pages once, and no later sync makes up for it. */
  readonly syncFailure: unknown;
  /** One write at a time: several to one file wait for each other in the kernel, and burn a core at it. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** In a buffer that the caller owns. @throws ERR_STORE_IO where the file is shorter than that */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** So many bytes more are worth syncing; some time they are, in the background. */
  grown(sizeBytes: number): void;
  /** Resolves when all of it is on the disk. */
  sync(): Promise<void>;
  /** Waits for a sync in the background. */
  close(): Promise<void>;
}

export function createIngestData(file: FileHandle, path: string): IngestData {
  const inTurn = createTurns();
  let unsyncedBytes = 0;
  let syncing: Promise<void> | undefined;
  let syncFailure: unknown;

  async function syncOnce(): Promise<void> {
    if (syncFailure !== undefined) throw syncFailure;
    try {
      await file.datasync();
    } catch (error) {
      syncFailure = error;
      throw error;
    }
  }

  return {
    get syncFailure() {
      return syncFailure;
    },
    write: (bytes, offset) => inTurn(() => writeFully(file, bytes, offset)),
    async read(offset, length) {
      const buffer = Buffer.allocUnsafeSlow(length);
      const { bytesRead } = await file.read(buffer, 0, length, offset);
      if (bytesRead !== length)
        throw new CodedError("ERR_STORE_IO", `${path} is shorter than it was; look at the disk`);
      return new Uint8Array(buffer.buffer, 0, length);
    },
    grown(sizeBytes) {
      unsyncedBytes += sizeBytes;
      if (unsyncedBytes < SYNC_BYTES || syncing !== undefined) return;
      unsyncedBytes = 0;
      syncing = syncOnce()
        // The next write, or the commit, tells.
        .catch(() => undefined)
        .finally(() => {
          syncing = undefined;
        });
    },
    async sync() {
      await syncing;
      await syncOnce();
    },
    async close() {
      await syncing;
      await file.close();
    },
  };
}
