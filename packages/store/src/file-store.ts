import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Digest, digestAlgorithm, digestHex, digestOf, isDigest } from "@shoal/oci";
import { type Clock, hasCode, type Logger, type MetricsRegister } from "@shoal/runtime";
import { openBlobFile } from "./blob-file.ts";
import { blobExists, blobTooLarge, digestMismatch, ingestOpen, storeFull } from "./failures.ts";
import { type FileIngest, openFileIngest } from "./file-ingest.ts";
import { openImageIndex } from "./image-index.ts";
import { createStoreListeners } from "./listeners.ts";
import { createStoreMetrics } from "./metrics.ts";
import { createPieceHashes } from "./piece-hashes.ts";
import { storeError, syncFolder, withStoreErrors } from "./store-io.ts";
import { openTables } from "./tables.ts";
import type { BlobHandle, BlobInfo, Ingest, Store } from "./types.ts";

/** An ingest that nobody went on with for this long is removed. Milliseconds. */
const FORGET_INGEST_MS = 24 * 3600 * 1000;
const SWEEP_MS = 3600 * 1000;
const ALGORITHMS = ["sha256", "sha512"] as const;

export interface FileStoreComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
}

export interface FileStoreInit {
  /** An OCI image layout, with `ingests/` and `index/` beside it. Made if missing. */
  readonly directory: string;
  /** Bytes of the file system that stay free. @default 0 */
  readonly minFreeBytes?: number;
}

/**
 * Opens the store of a folder. The files are the truth: the list of blobs is read from their folder.
 * @throws ERR_STORE_LOCKED, ERR_STORE_PERMISSION, ERR_STORE_READ_ONLY, ERR_STORE_FULL, ERR_STORE_SCHEMA, ERR_STORE_IO
 */
export async function openFileStore(
  components: FileStoreComponents,
  init: FileStoreInit,
): Promise<Store> {
  const { clock, logger } = components;
  const { directory, minFreeBytes = 0 } = init;
  const ingestFolder = join(directory, "ingests");
  const metrics = createStoreMetrics(components.metrics);
  const listeners = createStoreListeners();
  const blobs = new Map<Digest, BlobInfo>();
  /** Ingests that are open or being opened, with the room that they still need. */
  const open_ = new Map<Digest, Pick<FileIngest, "missingBytes">>();
  const ingests = new Set<Ingest>();
  const puts = new Set<string>();
  let blobBytes = 0;
  let sweepTimer: Disposable | undefined;

  await makeLayout(directory);
  const tables = await openTables(join(directory, "index"), logger);
  const pieceHashes = createPieceHashes(tables.table("piece-hashes"));
  const images = await openImageIndex(directory, logger);
  for await (const info of findBlobs(directory)) remember(info);
  await sweep();

  function blobPath(digest: Digest): string {
    return join(directory, "blobs", digestAlgorithm(digest), digestHex(digest));
  }

  function ingestPath(digest: Digest, suffix: "data" | "journal"): string {
    return join(ingestFolder, `${digestAlgorithm(digest)}-${digestHex(digest)}.${suffix}`);
  }

  function remember(info: BlobInfo): void {
    if (blobs.has(info.digest)) return;
    blobs.set(info.digest, info);
    blobBytes += info.sizeBytes;
    metrics.blobs.set(blobs.size);
    metrics.blobBytes.set(blobBytes);
  }

  function committed(info: BlobInfo): BlobInfo {
    remember(info);
    metrics.commits.add(1, { outcome: "committed" });
    listeners.emit("committed", info);
    return info;
  }

  /** @throws ERR_STORE_FULL when so many bytes do not fit beside those that are promised already */
  async function reserve(neededBytes: number, promise?: () => void): Promise<void> {
    const { bavail, bsize } = await withStoreErrors(directory, () => statfs(directory));
    let free = bavail * bsize - minFreeBytes;
    for (const { missingBytes } of open_.values()) free -= missingBytes;
    if (neededBytes > free) throw storeFull(neededBytes, Math.max(0, free));
    // In the same tick, so that two that begin at once are not promised the same room.
    promise?.();
  }

  /** Removes ingests that were left, and what a killed daemon was writing. */
  async function sweep(): Promise<void> {
    sweepTimer = clock.schedule(SWEEP_MS, () => {
      sweep().catch((error: unknown) => logger.warn({ error }, "old ingests could not be removed"));
    });
    for (const name of await readdir(ingestFolder)) {
      const path = join(ingestFolder, name);
      const found = await stat(path).catch(() => undefined);
      const inUse = [...open_.keys()].some((digest) => name.includes(digestHex(digest)));
      if (found === undefined || inUse) continue;
      const old = Date.now() - found.mtimeMs > FORGET_INGEST_MS;
      if (old || (name.startsWith("put-") && !puts.has(path))) await rm(path, { force: true });
    }
  }

  async function openIngest(target: BlobInfo): Promise<Ingest> {
    const { digest, sizeBytes } = target;
    if (blobs.has(digest)) throw blobExists(digest);
    if (open_.has(digest)) throw ingestOpen(digest);
    open_.set(digest, { missingBytes: 0 });
    try {
      const ingest = await openFileIngest({
        target,
        dataPath: ingestPath(digest, "data"),
        journalPath: ingestPath(digest, "journal"),
        blobPath: blobPath(digest),
        reserve: async (missingBytes) =>
          await reserve(missingBytes, () => open_.set(digest, { missingBytes })),
        async keepHashes(hashes) {
          // What can't be kept is computed when it is needed.
          await pieceHashes.keep(digest, hashes).catch((error: unknown) => {
            logger.warn({ error, digest }, "the hashes of a blob's pieces could not be kept");
          });
        },
        onClosed(outcome) {
          open_.delete(digest);
          ingests.delete(ingest);
          if (outcome === "committed") committed({ digest, sizeBytes });
        },
      });
      open_.set(digest, ingest);
      ingests.add(ingest);
      return ingest;
    } catch (error) {
      open_.delete(digest);
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
    await reserve(bytes.length);
    const temporary = join(ingestFolder, `put-${randomUUID()}`);
    const path = blobPath(digest);
    puts.add(temporary);
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
      puts.delete(temporary);
    }
    return committed({ digest, sizeBytes: bytes.length });
  }

  async function openBlob(digest: Digest): Promise<BlobHandle | undefined> {
    const info = blobs.get(digest);
    if (info === undefined) return undefined;
    try {
      return await openBlobFile(
        blobPath(digest),
        info,
        async (read) => await pieceHashes.of(info, read),
      );
    } catch (error) {
      if (!hasCode(error, "ERR_STORE_IO") || error.details["errno"] !== "ENOENT") throw error;
      logger.warn({ digest }, "a blob's file is gone; it is fetched again when it is asked for");
      blobs.delete(digest);
      blobBytes -= info.sizeBytes;
      listeners.emit("removed", info);
      return undefined;
    }
  }

  return {
    stat: (digest) => blobs.get(digest),
    blobs: () => blobs.values(),
    open: openBlob,
    async readAll(digest, limitBytes) {
      const info = blobs.get(digest);
      if (info === undefined) return undefined;
      if (info.sizeBytes > limitBytes) throw blobTooLarge(digest, info.sizeBytes, limitBytes);
      await using handle = await openBlob(digest);
      return await handle?.read(0, info.sizeBytes);
    },
    put,
    openIngest: async (target) => await openIngest(target),
    async remove(digest) {
      const info = blobs.get(digest);
      if (info === undefined) return false;
      blobs.delete(digest);
      blobBytes -= info.sizeBytes;
      await withStoreErrors(directory, () => rm(blobPath(digest), { force: true }));
      await pieceHashes.forget(digest);
      metrics.removed.add(1);
      metrics.blobs.set(blobs.size);
      metrics.blobBytes.set(blobBytes);
      listeners.emit("removed", info);
      return true;
    },
    table: (name) => tables.table(name),
    nameImage: async (image) => await images.name(image),
    images: async () => images.list(),
    async usage() {
      const { bavail, bsize } = await withStoreErrors(directory, () => statfs(directory));
      const names = (await readdir(ingestFolder)).filter((name) => name.endsWith(".data"));
      const sizes = await Promise.all(
        names.map(
          async (name) =>
            (await stat(join(ingestFolder, name)).catch(() => undefined))?.blocks ?? 0,
        ),
      );
      return {
        blobs: blobs.size,
        blobBytes,
        ingests: names.length,
        ingestBytes: sizes.reduce((sum, blocks) => sum + blocks * 512, 0),
        freeBytes: bavail * bsize,
      };
    },
    on: listeners.on,
    async [Symbol.asyncDispose]() {
      sweepTimer?.[Symbol.dispose]();
      for (const ingest of ingests) await ingest[Symbol.asyncDispose]();
      await tables[Symbol.asyncDispose]();
    },
  };
}

async function makeLayout(directory: string): Promise<void> {
  await withStoreErrors(directory, async () => {
    for (const algorithm of ALGORITHMS)
      await mkdir(join(directory, "blobs", algorithm), { recursive: true });
    await mkdir(join(directory, "ingests"), { recursive: true });
    const layout = JSON.stringify({ imageLayoutVersion: "1.0.0" });
    await writeFile(join(directory, "oci-layout"), layout);
  });
}

async function* findBlobs(directory: string): AsyncGenerator<BlobInfo> {
  for (const algorithm of ALGORITHMS) {
    const folder = join(directory, "blobs", algorithm);
    for (const hex of await withStoreErrors(folder, () => readdir(folder))) {
      const digest = `${algorithm}:${hex}`;
      const found = isDigest(digest) ? await stat(join(folder, hex)) : undefined;
      if (isDigest(digest) && found?.isFile() === true) yield { digest, sizeBytes: found.size };
    }
  }
}
