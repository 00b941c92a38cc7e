import type { Digest } from "@shoal/oci";
import { type Clock, CodedError } from "@shoal/runtime";
import type { BlobReaders } from "../blob-readers.ts";
import type { BlobSet } from "../blob-set.ts";
import type { StoreHealth } from "../health.ts";
import type { IngestFolder } from "../ingest-folder.ts";
import type { Layout } from "../layout.ts";
import type { Pins } from "../pins.ts";
import type { Room } from "../room.ts";
import type { Tables } from "../tables.ts";
import type { ImageGraph } from "./image-graph.ts";
import type { LastUses } from "./last-uses.ts";
import type { GcState } from "./plan.ts";

export interface GcStateComponents {
  readonly layout: Pick<Layout, "indexFolder">;
  readonly blobs: Pick<BlobSet, "values" | "writtenMs">;
  readonly readers: Pick<BlobReaders, "open">;
  readonly ingestFolder: Pick<IngestFolder, "look">;
  readonly room: Pick<Room, "open" | "leftovers">;
  readonly tables: Pick<Tables, "isOpen">;
  readonly graph: ImageGraph;
  readonly pins: Pick<Pins, "list">;
  readonly uses: Pick<LastUses, "of">;
  readonly health: Pick<StoreHealth, "ensureWritable">;
  readonly clock: Clock;
}

/**
 * All that a collection is decided by, as it is now, but for what only the site can tell.
 * @throws ERR_STORE_IO when the index can't be read, and what keeps the store from being written to
 */
export async function readGcState(
  components: GcStateComponents,
): Promise<Omit<GcState, "lastCopies">> {
  const { layout, blobs, readers, ingestFolder, room, tables, graph, pins, uses } = components;
  components.health.ensureWritable();
  if (!tables.isOpen)
    throw new CodedError(
      "ERR_STORE_IO",
      `${layout.indexFolder} can't be read, and with it what is pinned: nothing is removed`,
    );
  await ingestFolder.look();
  const children = await graph.load();
  const nowMs = components.clock.wallNow();
  // A time ahead of the clock is from before the clock was set back.
  const usedMs = (digest: Digest): number =>
    Math.min(nowMs, uses.of(digest) ?? blobs.writtenMs(digest));
  return {
    blobs: new Map(
      [...blobs.values()].map(({ digest, sizeBytes }) => [
        digest,
        { sizeBytes, usedMs: usedMs(digest) },
      ]),
    ),
    ingests: room.leftovers,
    children,
    pinned: pins.list().map(({ digest }) => digest),
    busy: new Set([...readers.open.keys(), ...room.open.keys()]),
    nowMs,
  };
}
