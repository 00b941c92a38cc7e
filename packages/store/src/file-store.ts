import { join } from "node:path";
import { hasCode } from "@shoal/runtime";
import { createBlobReaders } from "./blob-readers.ts";
import { createBlobSet } from "./blob-set.ts";
import { storeFull } from "./failures.ts";
import type { FileStore, FileStoreComponents, FileStoreInit } from "./file-store-types.ts";
import { createCollector } from "./gc/collector.ts";
import { createImageGraph } from "./gc/image-graph.ts";
import { createLastUses } from "./gc/last-uses.ts";
import { closure, FORGET_MS } from "./gc/plan.ts";
import { createPinning } from "./gc/pinning.ts";
import { readGcState } from "./gc/state.ts";
import { createStoreHealth } from "./health.ts";
import { openImageIndex } from "./image-index.ts";
import { createIncoming } from "./incoming.ts";
import { createIngestFolder } from "./ingest-folder.ts";
import { findBlobs, layoutOf, makeLayout } from "./layout.ts";
import { createStoreListeners } from "./listeners.ts";
import { createStoreMetrics } from "./metrics.ts";
import { createPieceHashes } from "./piece-hashes.ts";
import { createPins } from "./pins.ts";
import { createQuarantine } from "./quarantine.ts";
import { type Rebuilt, rebuildIndex } from "./rebuild.ts";
import { createRemoval } from "./removal.ts";
import { createRoom } from "./room.ts";
import { createRoomMaker } from "./room-maker.ts";
import { createScrubber } from "./scrub.ts";
import { storeError } from "./store-io.ts";
import { openTables } from "./tables.ts";

/**
 * Opens the store of a folder. The files are the truth: the list of blobs is read from their folder.
 * @throws ERR_STORE_LOCKED, ERR_STORE_PERMISSION, ERR_STORE_READ_ONLY, ERR_STORE_FULL, ERR_STORE_SCHEMA, ERR_STORE_IO
 */
export async function openFileStore(
  components: FileStoreComponents,
  init: FileStoreInit,
): Promise<FileStore> {
  const { clock, logger } = components;
  const { directory } = init;
  const layout = layoutOf(directory);
  const metrics = createStoreMetrics(components.metrics);
  const listeners = createStoreListeners();
  const blobs = createBlobSet(metrics);
  const quarantine = createQuarantine(join(directory, "quarantine"));
  const room = createRoom({
    directory,
    minFreeBytes: init.minFreeBytes ?? 0,
    maxBytes: init.maxBytes ?? Number.POSITIVE_INFINITY,
    highWaterPercent: init.highWaterPercent ?? 95,
    lowWaterPercent: init.lowWaterPercent ?? 85,
    heldBytes: () => blobs.bytes + quarantine.bytes,
  });
  const ingestFolder = createIngestFolder(layout, room);
  /** Blobs were found without their files, which may come back with their disk. */
  let isIncomplete = false;

  await makeLayout(directory);
  for await (const { writtenMs, ...info } of findBlobs(directory)) blobs.add(info, writtenMs);
  const health = createStoreHealth({
    probe,
    onRecovered: recover,
    stateGauge: metrics.state,
    clock,
    logger,
  });
  const tables = await openTables(layout.indexFolder, { logger, onFailure: health.failed });
  await tidy();
  // That may have been the room that it lacked.
  if (!tables.isOpen) await tables.reopen().catch(health.failed);
  const pieceHashes = createPieceHashes(tables.table("piece-hashes"));
  const readers = createBlobReaders({
    blobs,
    pathOf: layout.blob,
    pieceHashes,
    onGone(info) {
      if (!blobs.delete(info.digest)) return;
      isIncomplete = true;
      listeners.emit("removed", info);
      // Perhaps all of its disk is gone; that shows in the state.
      ensureDisk().catch(() => undefined);
    },
    logger,
  });
  const manifests = tables.table<{ mediaType: string }>("manifests");
  const pins = createPins(tables.table("pins"));
  const uses = createLastUses(tables.table("uses"), { clock });
  await pins.load();
  await uses.load();
  const images = await openImageIndex(directory, logger);
  const graph = createImageGraph({
    stat: (digest) => blobs.get(digest),
    read: async (digest) => await readers.readAll(digest, Number.MAX_SAFE_INTEGER),
    manifests,
    images: images.list,
    pinned: () => pins.list().map(({ digest }) => digest),
  });
  const takeOut = createRemoval({
    layout,
    blobs,
    readers,
    pieceHashes,
    uses,
    manifests,
    images,
    quarantine,
    listeners,
    metrics,
    clock,
    logger,
  });
  const collector = createCollector({
    state: async () =>
      await readGcState({
        layout,
        blobs,
        readers,
        ingestFolder,
        room,
        tables,
        graph,
        pins,
        uses,
        health,
        clock,
      }),
    lastCopies: components.lastCopies ?? (async () => new Set()),
    namesOf: (digest) =>
      images.list().flatMap(({ name, descriptor }) => (descriptor.digest === digest ? [name] : [])),
    remove: async (removal) =>
      removal.kind === "ingest"
        ? await ingestFolder.remove(removal.digest)
        : await takeOut.together(removal),
    onCollected: (removal) => listeners.emit("collected", removal),
    collectedBytes: metrics.collectedBytes,
    logger,
  });
  const roomMaker = createRoomMaker({
    room,
    collector,
    quarantine,
    health,
    metrics,
    clock,
    logger,
  });
  const incoming = createIncoming({
    layout,
    blobs,
    ingestFolder,
    pieceHashes,
    room,
    roomMaker,
    health,
    listeners,
    metrics,
    clock,
    logger,
  });
  const scrubber = createScrubber(
    {
      blobs: blobs.values,
      stat: blobs.get,
      open: readers.read,
      // One is the scrub's own.
      ensureDisk,
      isBusy: () => room.open.size > 0 || readers.open.size > 1,
      onFound: async (finding) =>
        await collector.whileIdle(async () => await takeOut.rotten(finding)),
      table: tables.table("scrub"),
      checkedBytes: metrics.scrubbedBytes,
      clock,
      logger,
    },
    { scrubDays: init.scrubDays ?? 0 },
  );
  const pinning = createPinning({
    pins,
    blobs,
    graph,
    whileIdle: collector.whileIdle,
    clock,
  });
  roomMaker.start();
  scrubber.start();
  if (tables.isNew && blobs.size > 0)
    rebuild().catch((error: unknown) =>
      logger.warn({ error }, "the store's index could not be made from its blobs"),
    );

  /** Removes what nobody goes on with. */
  async function tidy(): Promise<void> {
    try {
      await quarantine.look(clock.wallNow());
      await ingestFolder.look();
      for (const [digest, { usedMs }] of room.leftovers)
        if (clock.wallNow() - usedMs > FORGET_MS) await ingestFolder.remove(digest);
    } catch (error) {
      health.failed(storeError(error, layout.ingestFolder));
    }
  }

  /** @throws what keeps the store from taking so many bytes */
  async function probe(neededBytes: number): Promise<void> {
    const { capacityBytes, usedBytes } = (await room.measure())();
    const leftBytes = capacityBytes - usedBytes;
    if (leftBytes < Math.max(1, neededBytes))
      throw storeFull(Math.max(1, neededBytes), Math.max(0, leftBytes));
    await ingestFolder.tryWriting(4096);
  }

  /** @throws what is wrong with the disk as a whole; one that is full or read-only can be read. */
  async function ensureDisk(): Promise<void> {
    try {
      await ingestFolder.tryWriting(1);
    } catch (error) {
      health.failed(error);
      if (!hasCode(error, "ERR_STORE_FULL", "ERR_STORE_READ_ONLY")) throw error;
    }
  }

  async function recover(): Promise<void> {
    if (isIncomplete) {
      isIncomplete = false;
      rebuild().catch((error: unknown) => {
        isIncomplete = true;
        logger.warn({ error }, "it could not be seen which blobs are back");
      });
    }
    const wasOpen = tables.isOpen;
    // LevelDB takes nothing more once it has failed.
    await tables.reopen();
    if (wasOpen) return;
    await pins.load();
    await uses.load();
    listeners.emit("indexOpened");
  }

  async function rebuild(): Promise<Rebuilt> {
    return await collector.whileIdle(
      async () =>
        await rebuildIndex({
          find: () => findBlobs(directory),
          blobs,
          readers,
          manifests,
          tables: [tables.table("piece-hashes"), tables.table("uses"), manifests],
          images,
          listeners,
          inspect: scrubber.inspect,
          onRotten: takeOut.rotten,
          logger,
        }),
    );
  }

  return {
    stat: (digest) => blobs.get(digest),
    used: uses.note,
    doubt: scrubber.doubt,
    keeps: (digest, insists = false) => blobs.has(digest) && collector.keeps(digest, insists),
    blobs: () => blobs.values(),
    async open(digest) {
      uses.note(digest);
      return await readers.read(digest);
    },
    async readAll(digest, limitBytes, { isUse = true } = {}) {
      if (isUse && blobs.get(digest) !== undefined) uses.note(digest);
      return await readers.readAll(digest, limitBytes);
    },
    put: incoming.put,
    openIngest: incoming.openIngest,
    remove: async (digest) => await collector.whileIdle(async () => await takeOut.blob(digest)),
    get isIndexOpen() {
      return tables.isOpen;
    },
    table: (name) => tables.table(name),
    nameImage: async (image) => await images.name(image),
    images: async () => images.list(),
    async usage() {
      const { freeBytes, capacityBytes } = await roomMaker.fill();
      return {
        blobs: blobs.size,
        blobBytes: blobs.bytes,
        ingests: room.leftovers.size + room.open.size,
        ingestBytes: room.ingestBytes(),
        freeBytes,
        capacityBytes,
        ...health.condition,
      };
    },
    on: listeners.on,
    ...pinning,
    collect: async ({ targetBytes, dryRun = false } = {}) =>
      await collector.collect({
        dryRun,
        goal: async () => await roomMaker.excess(targetBytes, dryRun),
      }),
    verify: scrubber.verify,
    get scrubPass() {
      return scrubber.pass;
    },
    rebuild,
    async imagesNaming(digest) {
      const children = await graph.load();
      return images
        .list()
        .filter((image) => closure([image.descriptor.digest], children).has(digest));
    },
    async [Symbol.asyncDispose]() {
      roomMaker[Symbol.dispose]();
      await scrubber[Symbol.asyncDispose]();
      health[Symbol.dispose]();
      await incoming[Symbol.asyncDispose]();
      await collector.whileIdle(async () => undefined);
      await uses[Symbol.asyncDispose]();
      await tables[Symbol.asyncDispose]();
    },
  };
}
