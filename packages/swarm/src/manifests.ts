import {
  type Digest,
  digestAlgorithm,
  digestOf,
  MAX_MANIFEST_BYTES,
  parseManifest,
} from "@shoal/oci";
import { CodedError, type Logger } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";
import { createManifestCache } from "./manifest-cache.ts";

/** Some thousand of the usual size. */
const CACHE_BYTES = 4 * 1024 * 1024;

export interface Manifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Manifests that are in the store, with the media types that blobs don't have. */
export interface Manifests {
  /** Verified when it was read. One that has rotted is removed, to be fetched again. @throws ERR_STORE_IO */
  get(digest: Digest): Promise<Manifest | undefined>;
  /** Keeps a manifest; a store that can't is logged, not thrown. @throws ERR_DIGEST_MISMATCH */
  put(manifest: Manifest): Promise<void>;
}

export function createManifests(
  store: Pick<Store, "readAll" | "put" | "stat" | "table" | "doubt" | "used">,
  logger: Logger,
): Manifests {
  const mediaTypes: RecordTable<{ mediaType: string }> = store.table("manifests");
  const cache = createManifestCache(CACHE_BYTES);

  async function read(digest: Digest): Promise<Manifest | undefined> {
    const noted = await mediaTypes.get(digest);
    const bytes = await store.readAll(digest, MAX_MANIFEST_BYTES);
    if (bytes === undefined) return undefined;
    if (digestOf(bytes, digestAlgorithm(digest)) !== digest) {
      logger.warn(
        { digest },
        "a manifest has changed on the disk; it is removed and fetched again",
      );
      await store.doubt(digest);
      return undefined;
    }
    const mediaType = noted?.mediaType ?? mediaTypeInside(bytes);
    return mediaType === undefined ? undefined : { digest, mediaType, bytes };
  }

  function mediaTypeInside(bytes: Uint8Array): string | undefined {
    try {
      const { kind, mediaType } = parseManifest(bytes, "");
      return kind === "opaque" ? undefined : mediaType;
    } catch {
      // Not a manifest that tells its own type; the registry or a member is asked.
      return undefined;
    }
  }

  return {
    async get(digest) {
      const info = store.stat(digest);
      if (info === undefined) cache.delete(digest);
      if (info === undefined || info.sizeBytes > MAX_MANIFEST_BYTES) return undefined;
      const kept = cache.get(digest);
      if (kept !== undefined) {
        store.used(digest);
        return kept;
      }
      const manifest = await read(digest);
      if (manifest !== undefined) cache.set(manifest);
      return manifest;
    },
    async put({ digest, mediaType, bytes }) {
      if (digestOf(bytes, digestAlgorithm(digest)) !== digest)
        throw new CodedError(
          "ERR_DIGEST_MISMATCH",
          `a manifest's bytes are not ${digest}; pull again, and look at what stands between if it repeats`,
          { details: { digest } },
        );
      try {
        if (store.stat(digest) === undefined) await store.put(digest, bytes);
        await mediaTypes.put(digest, { mediaType });
        // Its media type may be another one now.
        cache.delete(digest);
      } catch (error) {
        logger.warn({ error, digest }, "a manifest could not be kept");
      }
    },
  };
}
