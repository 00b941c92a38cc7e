import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Digest, digestAlgorithm, digestOf } from "@shoal/oci";
import { CodedError, hasCode } from "@shoal/runtime";
import { createBlobReaders } from "./blob-readers.ts";
import { createBlobSet } from "./blob-set.ts";
import { blobExists, digestMismatch, ingestOpen, isRefusal, storeFull } from "./failures.ts";
import type { FileStore, FileStoreComponents, FileStoreInit } from "./file-store-types.ts";
import { openFileIngest } from "./file-ingest.ts";
import { createCollector } from "./gc/collector.ts";
import { createImageGraph } from "./gc/image-graph.ts";
import { createLastUses } from "./gc/last-uses.ts";
import { closure, FORGET_MS, type GcState } from "./gc/plan.ts";
import { createStoreHealth } from "./health.ts";
import { openImageIndex } from "./image-index.ts";
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
import { storeError, syncFolder } from "./store-io.ts";
import { openTables } from "./tables.ts";
import { writeTemporary } from "./temporary-file.ts";
import type { BlobInfo, Ingest } from "./types.ts";

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
  const ingests = new Set<Ingest>();
  /** Blobs were found without their files, which may come back with their disk. */
  let isIncomplete = false;
  const write = async (bytes: Uint8Array, use: (path: string) => Promise<void>): Promise<void> =>
    await writeTemporary(layout.ingestFolder, ingestFolder.puts, bytes, use);

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
    state,
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
    await write(new Uint8Array(4096), async (path) => await rm(path));
  }

  /** @throws what is wrong with the disk as a whole; one that is full or read-only can be read. */
  async function ensureDisk(): Promise<void> {
    try {
      await write(new Uint8Array(1), async (path) => await rm(path));
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

  function committed(info: BlobInfo): BlobInfo {
    blobs.add(info, clock.wallNow());
    metrics.commits.add(1, { outcome: "committed" });
    listeners.emit("committed", info);
    return info;
  }

  async function state(): Promise<Omit<GcState, "lastCopies">> {
    health.ensureWritable();
    if (!tables.isOpen)
      throw new CodedError(
        "ERR_STORE_IO",
        `${layout.indexFolder} can't be read, and with it what is pinned: nothing is removed`,
      );
    await ingestFolder.look();
    const children = await graph.load();
    const nowMs = clock.wallNow();
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

  async function openIngest(target: BlobInfo): Promise<Ingest> {
    const { digest, sizeBytes } = target;
    health.ensureWritable();
    await ingestFolder.settled(digest);
    if (blobs.get(digest) !== undefined) throw blobExists(digest);
    if (room.open.has(digest)) throw ingestOpen(digest);
    const left = room.leftovers.get(digest);
    room.leftovers.delete(digest);
    room.open.set(digest, { sizeBytes: left?.sizeBytes ?? 0, missingBytes: 0 });
    try {
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
    } catch (error) {
      room.open.delete(digest);
      if (left !== undefined) room.leftovers.set(digest, left);
      if (!isRefusal(error)) health.failed(error);
      throw error;
    }
  }

  async function put(digest: Digest, bytes: Uint8Array): Promise<BlobInfo> {
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
      await write(bytes, async (temporary) => {
        await rename(temporary, path);
        await syncFolder(dirname(path));
      });
    } catch (error) {
      metrics.commits.add(1, { outcome: "failed" });
      health.failed(error);
      throw error;
    }
    return committed({ digest, sizeBytes: bytes.length });
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
    put,
    openIngest: async (target) => await openIngest(target),
    remove: async (digest) => await collector.whileIdle(async () => await takeOut.blob(digest)),
    get isIndexOpen() {
      return tables.isOpen;
    },
    table: (name) => tables.table(name),
    nameImage: async (image) => await images.name(image),
    images: async () => images.list(),
    async usage() {
      const { freeBytes, capacityBytes } = await roomMaker.fill();
      let ingestBytes = 0;
      for (const { sizeBytes } of room.leftovers.values()) ingestBytes += sizeBytes;
      for (const { sizeBytes, missingBytes } of room.open.values())
        ingestBytes += sizeBytes - missingBytes;
      return {
        blobs: blobs.size,
        blobBytes: blobs.bytes,
        ingests: room.leftovers.size + room.open.size,
        ingestBytes,
        freeBytes,
        capacityBytes,
        ...health.condition,
      };
    },
    on: listeners.on,
    async pins() {
      const children = await graph.load();
      return pins.list().map((pin) => {
        const kept = closure([pin.digest], children);
        const sizes = [...kept].map((digest) => blobs.get(digest)?.sizeBytes ?? 0);
        return { ...pin, sizeBytes: sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0) };
      });
    },
    pin: async (name, digest) =>
      await collector.whileIdle(async () => {
        if (blobs.get(digest) === undefined)
          throw new CodedError(
            "ERR_BLOB_NOT_STORED",
            `${name} is not in the store; pull it first, with \`shoal pull\``,
            { details: { digest } },
          );
        const pin = { name, digest, atMs: clock.wallNow() };
        await pins.add(pin);
        return pin;
      }),
    unpin: async (nameOrDigest) => await pins.remove(nameOrDigest),
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
      for (const ingest of ingests) await ingest[Symbol.asyncDispose]();
      await collector.whileIdle(async () => undefined);
      await uses[Symbol.asyncDispose]();
      await tables[Symbol.asyncDispose]();
    },
  };
}
