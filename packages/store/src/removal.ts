import { rm } from "node:fs/promises";
import type { Digest } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import type { BlobReaders } from "./blob-readers.ts";
import type { BlobSet } from "./blob-set.ts";
import type { LastUses } from "./gc/last-uses.ts";
import type { GcRemoval } from "./gc/plan.ts";
import type { ImageIndex } from "./image-index.ts";
import type { Layout } from "./layout.ts";
import type { StoreListeners } from "./listeners.ts";
import type { StoreMetrics } from "./metrics.ts";
import type { PieceHashes } from "./piece-hashes.ts";
import type { Quarantine } from "./quarantine.ts";
import type { ScrubFinding } from "./scrub.ts";
import { withStoreErrors } from "./store-io.ts";
import type { RecordTable } from "./types.ts";

export interface RemovalComponents {
  readonly layout: Layout;
  readonly blobs: BlobSet;
  readonly readers: Pick<BlobReaders, "open">;
  readonly pieceHashes: PieceHashes;
  readonly uses: LastUses;
  readonly manifests: RecordTable<{ readonly mediaType: string }>;
  readonly images: ImageIndex;
  readonly quarantine: Quarantine;
  readonly listeners: Pick<StoreListeners, "emit">;
  readonly metrics: Pick<StoreMetrics, "removed" | "rotten">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Takes blobs out of the store, with all that tells of them. */
export interface Removal {
  /** @returns whether it was there */
  blob(digest: Digest): Promise<boolean>;
  /** An image with what it alone names, unless somebody has come to read of it since. @returns bytes won */
  together(removal: GcRemoval): Promise<number>;
  /** Moves a blob that is wrong out of the way. That it is wanted stays known. */
  rotten(finding: ScrubFinding): Promise<void>;
}

export function createRemoval(components: RemovalComponents): Removal {
  const { layout, blobs, readers, pieceHashes, uses, manifests, images } = components;
  const { quarantine, listeners, metrics, clock, logger } = components;

  async function blob(digest: Digest): Promise<boolean> {
    const info = blobs.get(digest);
    if (info === undefined) return false;
    const writtenMs = blobs.writtenMs(digest);
    blobs.delete(digest);
    const path = layout.blob(digest);
    try {
      await withStoreErrors(path, () => rm(path, { force: true }));
    } catch (error) {
      blobs.add(info, writtenMs);
      throw error;
    }
    metrics.removed.add(1);
    listeners.emit("removed", info);
    await pieceHashes.forget(digest);
    await uses.forget(digest);
    await manifests.delete(digest);
    await images.forget(({ descriptor }) => descriptor.digest === digest);
    return true;
  }

  return {
    blob,
    async together(removal) {
      if (removal.blobs.some((digest) => readers.open.has(digest))) return 0;
      let wonBytes = 0;
      for (const digest of removal.blobs) {
        wonBytes += blobs.get(digest)?.sizeBytes ?? 0;
        await blob(digest);
      }
      // It may have lost its manifest before.
      await images.forget(({ descriptor }) => descriptor.digest === removal.digest);
      return wonBytes;
    },
    async rotten({ digest, sizeBytes, fault }) {
      logger.error(
        { digest, sizeBytes, fault },
        "a blob is no longer what it was on this machine's disk; it is put aside and fetched again; look at the disk",
      );
      metrics.rotten.add(1, { fault });
      blobs.delete(digest);
      if (fault !== "missing")
        // A disk that does not let go of it shows it again at the next start, to the next scrub.
        await quarantine
          .take(digest, layout.blob(digest), clock.wallNow())
          .catch((error: unknown) => logger.warn({ error, digest }, "it could not be put aside"));
      await pieceHashes.forget(digest);
      listeners.emit("removed", { digest, sizeBytes });
      listeners.emit("rotted", { digest, sizeBytes, fault });
    },
  };
}
