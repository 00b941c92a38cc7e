import { rename } from "node:fs/promises";
import { dirname } from "node:path";
import { type Digest, digestAlgorithm, digestOf } from "@shoal/oci";
import { type Clock, type Logger, syncFolder } from "@shoal/runtime";
import type { BlobSet } from "./blob-set.ts";
import { blobExists, digestMismatch, ingestOpen, isRefusal } from "./failures.ts";
import { openFileIngest } from "./file-ingest.ts";
import type { StoreHealth } from "./health.ts";
import type { IngestFolder } from "./ingest-folder.ts";
import type { Layout } from "./layout.ts";
import type { StoreListeners } from "./listeners.ts";
import type { StoreMetrics } from "./metrics.ts";
import type { PieceHashes } from "./piece-hashes.ts";
import type { Room } from "./room.ts";
import type { RoomMaker } from "./room-maker.ts";
import type { BlobInfo, Ingest, Store } from "./types.ts";

export interface IncomingComponents {
  readonly layout: Layout;
  readonly blobs: BlobSet;
  readonly ingestFolder: Pick<IngestFolder, "write" | "settled">;
  readonly pieceHashes: Pick<PieceHashes, "keep">;
  readonly room: Pick<Room, "open" | "leftovers">;
  readonly roomMaker: Pick<RoomMaker, "reserve">;
  readonly health: Pick<StoreHealth, "ensureWritable" | "failed">;
  readonly listeners: Pick<StoreListeners, "emit">;
  readonly metrics: Pick<StoreMetrics, "commits">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Takes blobs into the store. Disposing closes what is arriving, and keeps what of it is there. */
export interface Incoming extends Pick<Store, "openIngest" | "put">, AsyncDisposable {}

export function createIncoming(components: IncomingComponents): Incoming {
  const { layout, blobs, ingestFolder, pieceHashes, room, roomMaker } = components;
  const { health, listeners, metrics, clock, logger } = components;
  const ingests = new Set<Ingest>();

  function committed(info: BlobInfo): BlobInfo {
    blobs.add(info, clock.wallNow());
    metrics.commits.add(1, { outcome: "committed" });
    listeners.emit("committed", info);
    return info;
  }

  async function open(target: BlobInfo): Promise<Ingest> {
    const { digest, sizeBytes } = target;
    const ingest = await openFileIngest({
      target,
      dataPath: layout.ingest(digest, ".data"),
      journalPath: layout.ingest(digest, ".journal"),
      blobPath: layout.blob(digest),
      reserve: async (missingBytes) =>
        await roomMaker.reserve(missingBytes, () =>
          room.open.set(digest, { sizeBytes, missingBytes }),
        ),
      async keepHashes(hashes) {
        // What can't be kept is computed when it is needed.
        await pieceHashes.keep(digest, hashes).catch((error: unknown) => {
          logger.warn({ error, digest }, "the hashes of a blob's pieces could not be kept");
        });
      },
      onFault: health.failed,
      onClosed(outcome) {
        room.open.delete(digest);
        ingests.delete(ingest);
        if (outcome === "committed") committed({ digest, sizeBytes });
        else if (outcome === "kept")
          room.leftovers.set(digest, {
            sizeBytes: sizeBytes - ingest.missingBytes,
            usedMs: clock.wallNow(),
          });
      },
    });
    room.open.set(digest, ingest);
    ingests.add(ingest);
    return ingest;
  }

  return {
    async openIngest(target) {
      const { digest } = target;
      health.ensureWritable();
      await ingestFolder.settled(digest);
      if (blobs.get(digest) !== undefined) throw blobExists(digest);
      if (room.open.has(digest)) throw ingestOpen(digest);
      const left = room.leftovers.get(digest);
      room.leftovers.delete(digest);
      room.open.set(digest, { sizeBytes: left?.sizeBytes ?? 0, missingBytes: 0 });
      try {
        return await open(target);
      } catch (error) {
        room.open.delete(digest);
        if (left !== undefined) room.leftovers.set(digest, left);
        if (!isRefusal(error)) health.failed(error);
        throw error;
      }
    },

    async put(digest: Digest, bytes) {
      const known = blobs.get(digest);
      if (known !== undefined) return known;
      const found = digestOf(bytes, digestAlgorithm(digest));
      if (found !== digest) {
        metrics.commits.add(1, { outcome: "mismatch" });
        throw digestMismatch(digest, found);
      }
      health.ensureWritable();
      await roomMaker.reserve(bytes.length);
      const path = layout.blob(digest);
      try {
        await ingestFolder.write(bytes, async (temporary) => {
          await rename(temporary, path);
          await syncFolder(dirname(path));
        });
      } catch (error) {
        metrics.commits.add(1, { outcome: "failed" });
        health.failed(error);
        throw error;
      }
      return committed({ digest, sizeBytes: bytes.length });
    },

    async [Symbol.asyncDispose]() {
      for (const ingest of ingests) await ingest[Symbol.asyncDispose]();
    },
  };
}
