import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Digest, digestAlgorithm, digestOf } from "@shoal/oci";
import { type Clock, CodedError, hasCode, type Logger, type MetricsRegister } from "@shoal/runtime";
import { openBlobFile } from "./blob-file.ts";
import { createBlobSet } from "./blob-set.ts";
import { blobExists, blobTooLarge, digestMismatch, ingestOpen } from "./failures.ts";
import { openFileIngest } from "./file-ingest.ts";
import { type Collection, createCollector } from "./gc/collector.ts";
import { createImageGraph } from "./gc/image-graph.ts";
import { loadLastUses } from "./gc/last-uses.ts";
import { closure, FORGET_MS, type GcRemoval, type GcState } from "./gc/plan.ts";
import { openImageIndex } from "./image-index.ts";
import { createIngestFolder } from "./ingest-folder.ts";
import { findBlobs, layoutOf, makeLayout } from "./layout.ts";
import { createStoreListeners } from "./listeners.ts";
import { createStoreMetrics } from "./metrics.ts";
import { createPieceHashes } from "./piece-hashes.ts";
import { loadPins, type Pin } from "./pins.ts";
import { createRoom } from "./room.ts";
import { createRoomMaker } from "./room-maker.ts";
import { storeError, syncFolder, withStoreErrors } from "./store-io.ts";
import { openTables } from "./tables.ts";
import type { BlobHandle, BlobInfo, Ingest, Store } from "./types.ts";

export interface FileStoreComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
  /** Those of the blobs that no other machine is known to keep. @default none */
  readonly lastCopies?: (digests: readonly Digest[]) => Promise<ReadonlySet<Digest>>;
}

export interface FileStoreInit {
  /** An OCI image layout, with `ingests/` and `index/` beside it. Made if missing. */
  readonly directory: string;
  /** Bytes of the file system that stay free. @default 0 */
  readonly minFreeBytes?: number;
  /** What the store may hold. @default no quota */
  readonly maxBytes?: number;
  /** Of what it may hold: over it, room is made. @default 95 */
  readonly highWaterPercent?: number;
  /** Room is made down to this. @default 85 */
  readonly lowWaterPercent?: number;
}

export interface CollectInit {
  /** What the store may still hold afterwards. Bytes. @default its low mark */
  readonly targetBytes?: number | undefined;
  /** Removes nothing. @default false */
  readonly dryRun?: boolean | undefined;
}

/** A store that keeps within its room. */
export interface FileStore extends Store {
  /** With all that each of them keeps, in bytes. */
  pins(): Promise<readonly (Pin & { readonly sizeBytes: number })[]>;
  /**
   * Keeps a blob, and all that it names where it is a manifest, until it is unpinned. Resolves when that is on
   * the disk. @throws ERR_BLOB_NOT_STORED, ERR_STORE_FULL, ERR_STORE_IO
   */
  pin(name: string, digest: Digest): Promise<Pin>;
  /** Takes back the pin of a name, or all of a digest. @returns what was pinned */
  unpin(nameOrDigest: string): Promise<readonly Pin[]>;
  /** Removes what was used least recently, and what has been of no use for a day. */
  collect(init?: CollectInit): Promise<Collection>;
}

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
  const room = createRoom({
    directory,
    minFreeBytes: init.minFreeBytes ?? 0,
    maxBytes: init.maxBytes ?? Number.POSITIVE_INFINITY,
    highWaterPercent: init.highWaterPercent ?? 95,
    lowWaterPercent: init.lowWaterPercent ?? 85,
    blobBytes: () => blobs.bytes,
  });
  const ingestFolder = createIngestFolder(layout, room);
  const ingests = new Set<Ingest>();
  /** How many have a blob open. */
  const readers = new Map<Digest, number>();

  await makeLayout(directory);
  const tables = await openTables(layout.indexFolder, logger);
  const pieceHashes = createPieceHashes(tables.table("piece-hashes"));
  const manifests = tables.table<{ mediaType: string }>("manifests");
  const pins = await loadPins(tables.table("pins"));
  const uses = await loadLastUses(tables.table("uses"), { clock, logger });
  const images = await openImageIndex(directory, logger);
  const graph = createImageGraph({
    stat: (digest) => blobs.get(digest),
    read: async (digest) => await readAll(digest, Number.MAX_SAFE_INTEGER),
    manifests,
    images: images.list,
  });
  const collector = createCollector({
    state,
    lastCopies: components.lastCopies ?? (async () => new Set()),
    namesOf: (digest) =>
      images.list().flatMap(({ name, descriptor }) => (descriptor.digest === digest ? [name] : [])),
    remove: async (removal) =>
      removal.kind === "ingest"
        ? await ingestFolder.remove(removal.digest)
        : await removeTogether(removal),
    collectedBytes: metrics.collectedBytes,
    logger,
  });
  const roomMaker = createRoomMaker({ room, collector, metrics, clock, logger });
  for await (const { writtenMs, ...info } of findBlobs(directory)) blobs.add(info, writtenMs);
  await ingestFolder.look();
  for (const [digest, { usedMs }] of room.leftovers)
    if (clock.wallNow() - usedMs > FORGET_MS) await ingestFolder.remove(digest);
  roomMaker.start();

  function committed(info: BlobInfo): BlobInfo {
    blobs.add(info, clock.wallNow());
    metrics.commits.add(1, { outcome: "committed" });
    listeners.emit("committed", info);
    return info;
  }

  async function state(): Promise<Omit<GcState, "lastCopies">> {
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
      busy: new Set([...readers.keys(), ...room.open.keys()]),
      nowMs,
    };
  }

  /** An image with what it alone names, unless somebody has come to read of it since it was chosen. */
  async function removeTogether(removal: GcRemoval): Promise<number> {
    if (removal.blobs.some((digest) => readers.has(digest))) return 0;
    let wonBytes = 0;
    for (const digest of removal.blobs) {
      wonBytes += blobs.get(digest)?.sizeBytes ?? 0;
      await removeBlob(digest);
    }
    return wonBytes;
  }

  async function openIngest(target: BlobInfo): Promise<Ingest> {
    const { digest, sizeBytes } = target;
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
    await roomMaker.reserve(bytes.length);
    const temporary = join(layout.ingestFolder, `put-${randomUUID()}`);
    const path = layout.blob(digest);
    ingestFolder.puts.add(temporary);
    try {
      const file = await open(temporary, "w", 0o644);
      try {
        await file.writeFile(bytes);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      await syncFolder(dirname(path));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      metrics.commits.add(1, { outcome: "failed" });
      throw storeError(error, path);
    } finally {
      ingestFolder.puts.delete(temporary);
    }
    return committed({ digest, sizeBytes: bytes.length });
  }

  async function openBlob(digest: Digest): Promise<BlobHandle | undefined> {
    const info = blobs.get(digest);
    if (info === undefined) return undefined;
    readers.set(digest, (readers.get(digest) ?? 0) + 1);
    const leave = (): void => {
      const left = readers.get(digest)! - 1;
      if (left === 0) readers.delete(digest);
      else readers.set(digest, left);
    };
    try {
      return await openBlobFile(
        layout.blob(digest),
        info,
        async (read) => await pieceHashes.of(info, read),
        leave,
      );
    } catch (error) {
      leave();
      if (!hasCode(error, "ERR_STORE_IO") || error.details["errno"] !== "ENOENT") throw error;
      logger.warn({ digest }, "a blob's file is gone; it is fetched again when it is asked for");
      if (blobs.delete(digest)) listeners.emit("removed", info);
      return undefined;
    }
  }

  async function readAll(digest: Digest, limitBytes: number): Promise<Uint8Array | undefined> {
    const info = blobs.get(digest);
    if (info === undefined) return undefined;
    if (info.sizeBytes > limitBytes) throw blobTooLarge(digest, info.sizeBytes, limitBytes);
    await using handle = await openBlob(digest);
    return await handle?.read(0, info.sizeBytes);
  }

  async function removeBlob(digest: Digest): Promise<boolean> {
    const info = blobs.get(digest);
    if (info === undefined) return false;
    blobs.delete(digest);
    await withStoreErrors(directory, () => rm(layout.blob(digest), { force: true }));
    metrics.removed.add(1);
    listeners.emit("removed", info);
    await pieceHashes.forget(digest);
    await uses.forget(digest);
    await manifests.delete(digest);
    await images.forget(({ descriptor }) => descriptor.digest === digest);
    return true;
  }

  return {
    stat: (digest) => blobs.get(digest),
    keeps: (digest, insists = false) => blobs.has(digest) && collector.keeps(digest, insists),
    blobs: () => blobs.values(),
    async open(digest) {
      uses.note(digest);
      return await openBlob(digest);
    },
    async readAll(digest, limitBytes, { isUse = true } = {}) {
      if (isUse && blobs.get(digest) !== undefined) uses.note(digest);
      return await readAll(digest, limitBytes);
    },
    put,
    openIngest: async (target) => await openIngest(target),
    remove: async (digest) => await collector.whileIdle(async () => await removeBlob(digest)),
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
      };
    },
    on: listeners.on,
    async pins() {
      const children = await graph.load();
      return pins.list().map((pin) => {
        const kept = closure([pin.digest], { blobs, children });
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
        async goal() {
          const { usedBytes, lowBytes } = await roomMaker.fill();
          return usedBytes - (targetBytes ?? lowBytes);
        },
      }),
    async [Symbol.asyncDispose]() {
      roomMaker[Symbol.dispose]();
      for (const ingest of ingests) await ingest[Symbol.asyncDispose]();
      await collector.whileIdle(async () => undefined);
      await uses[Symbol.asyncDispose]();
      await tables[Symbol.asyncDispose]();
    },
  };
}
