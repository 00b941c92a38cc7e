import { type Digest, isDigest, MAX_MANIFEST_BYTES, MEDIA_TYPES } from "@shoal/oci";
import type { Logger } from "@shoal/runtime";
import type { BlobReaders } from "./blob-readers.ts";
import type { BlobSet } from "./blob-set.ts";
import type { ImageIndex } from "./image-index.ts";
import type { FoundBlob } from "./layout.ts";
import type { StoreListeners } from "./listeners.ts";
import type { ScrubFinding, Scrubber } from "./scrub.ts";
import type { RecordTable } from "./types.ts";

/** What a rebuilding of the index has found. */
export interface Rebuilt {
  readonly blobs: number;
  /** Files that were not known, and are what they should be. */
  readonly addedBlobs: number;
  /** Blobs that were known and have no file any more. */
  readonly goneBlobs: number;
  readonly manifests: number;
  /** Records about blobs that are not here. */
  readonly droppedRecords: number;
}

export interface RebuildComponents {
  /** The files of the blob tree. */
  readonly find: () => AsyncIterable<FoundBlob>;
  readonly blobs: BlobSet;
  readonly readers: Pick<BlobReaders, "read">;
  readonly manifests: RecordTable<{ readonly mediaType: string }>;
  /** Those whose keys are digests of blobs. */
  readonly tables: readonly Pick<RecordTable<unknown>, "entries" | "delete">[];
  readonly images: ImageIndex;
  readonly listeners: Pick<StoreListeners, "emit">;
  readonly inspect: Scrubber["inspect"];
  readonly onRotten: (finding: ScrubFinding) => Promise<void>;
  readonly logger: Logger;
}

/** Makes anew, from the files, what can be made from them. Nothing else may remove blobs meanwhile. */
export async function rebuildIndex(components: RebuildComponents): Promise<Rebuilt> {
  const { find, blobs, tables, images, listeners, inspect, onRotten, logger } = components;
  const found = new Map<Digest, FoundBlob>();
  const known = [...blobs.values()];
  for await (const blob of find()) found.set(blob.digest, blob);
  const gone = known.filter(({ digest }) => !found.has(digest));
  for (const info of gone) if (blobs.delete(info.digest)) listeners.emit("removed", info);
  let addedBlobs = 0;
  for (const { writtenMs, ...info } of found.values()) {
    if (blobs.has(info.digest)) continue;
    blobs.add(info, writtenMs);
    // Nobody has seen how it came here.
    const fault = await inspect(info);
    if (fault === undefined) {
      addedBlobs += 1;
      listeners.emit("committed", info);
    } else await onRotten({ ...info, fault });
  }
  const manifestCount = await findManifests(components);
  const droppedRecords = await pruneTables(tables, blobs.has);
  await images.forget(({ descriptor }) => !blobs.has(descriptor.digest));
  logger.info({ blobs: blobs.size, manifests: manifestCount }, "the store's index is made anew");
  return {
    blobs: blobs.size,
    addedBlobs,
    goneBlobs: gone.length,
    manifests: manifestCount,
    droppedRecords,
  };
}

/** Finds the manifests among the blobs, and notes media types where none is. @returns how many there are */
async function findManifests({
  blobs,
  readers,
  manifests,
}: Pick<RebuildComponents, "blobs" | "readers" | "manifests">): Promise<number> {
  let count = 0;
  for (const { digest, sizeBytes } of blobs.values()) {
    if (sizeBytes === 0 || sizeBytes > MAX_MANIFEST_BYTES) continue;
    await using handle = await readers.read(digest);
    const start = await handle?.read(0, Math.min(sizeBytes, 64));
    if (start === undefined || !/^\s*\{/.test(Buffer.from(start).toString("latin1"))) continue;
    const bytes = await handle?.read(0, sizeBytes);
    const mediaType = bytes && manifestTypeOf(bytes);
    if (mediaType === undefined) continue;
    count += 1;
    if ((await manifests.get(digest)) === undefined) await manifests.put(digest, { mediaType });
  }
  return count;
}

/** Takes rows of digests that are not here out of tables. @returns how many there were */
async function pruneTables(
  tables: readonly Pick<RecordTable<unknown>, "entries" | "delete">[],
  isHere: (digest: Digest) => boolean,
): Promise<number> {
  let count = 0;
  for (const table of tables)
    for await (const [key] of table.entries())
      if (!isDigest(key) || !isHere(key)) {
        await table.delete(key);
        count += 1;
      }
  return count;
}

/**
 * The media type of a blob that looks like a manifest; `undefined` for any other. A manifest without `mediaType`
 * is OCI's: Docker's has it always.
 */
export function manifestTypeOf(bytes: Uint8Array): string | undefined {
  let body: unknown;
  try {
    body = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof body !== "object" || body === null) return undefined;
  const { mediaType, manifests, config, layers } = body as Record<string, unknown>;
  const isIndex = Array.isArray(manifests);
  const isManifest = typeof config === "object" && config !== null && Array.isArray(layers);
  if (isIndex === isManifest) return undefined;
  if (typeof mediaType === "string" && mediaType !== "") return mediaType;
  return isIndex ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.ociManifest;
}
