import {
  type Digest,
  digestAlgorithm,
  digestOf,
  MAX_MANIFEST_BYTES,
  parseManifest,
} from "@shoal/oci";
import { CodedError, type Logger } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";

export interface Manifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Manifests that are in the store, with the media types that blobs don't have. */
export interface Manifests {
  get(digest: Digest): Promise<Manifest | undefined>;
  /** Keeps a manifest; a store that can't is logged, not thrown. @throws ERR_DIGEST_MISMATCH */
  put(manifest: Manifest): Promise<void>;
}

export function createManifests(
  store: Pick<Store, "readAll" | "put" | "stat" | "table">,
  logger: Logger,
): Manifests {
  const mediaTypes: RecordTable<{ mediaType: string }> = store.table("manifests");

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
      if (info === undefined || info.sizeBytes > MAX_MANIFEST_BYTES) return undefined;
      const noted = await mediaTypes.get(digest);
      const bytes = await store.readAll(digest, MAX_MANIFEST_BYTES);
      if (bytes === undefined) return undefined;
      const mediaType = noted?.mediaType ?? mediaTypeInside(bytes);
      return mediaType === undefined ? undefined : { digest, mediaType, bytes };
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
      } catch (error) {
        logger.warn({ error, digest }, "a manifest could not be kept");
      }
    },
  };
}
