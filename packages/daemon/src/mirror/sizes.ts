import { type Digest, parseManifest } from "@shoal/oci";
import { type Logger, makeRoom } from "@shoal/runtime";
import type { Resolution } from "@shoal/swarm";

const MAX_SIZES = 20_000;

/** Sizes that manifests gave to blobs, so that a bare GET of a blob needs no question. */
export interface Sizes {
  get(digest: Digest): number | undefined;
  /**
   * Notes what a manifest says. One that can't be read is passed on as it is: that is the engine's to say.
   * @returns what it names
   */
  learn(manifest: Pick<Resolution, "digest" | "mediaType" | "bytes">): readonly Digest[];
}

interface Named {
  readonly digests: readonly Digest[];
  readonly sizes: readonly (readonly [Digest, number | undefined])[];
}

/** Keeps 20,000; the oldest go first, and come back when their manifest is asked for again. */
export function createSizes(logger: Logger): Sizes {
  const sizes = new Map<Digest, number>();
  /** Those of manifests that are in memory, by their bytes: the same ones are asked for again and again. */
  const read = new WeakMap<Uint8Array, Named>();

  function namedBy(manifest: Parameters<Sizes["learn"]>[0]): Named {
    try {
      const { blobs, manifests } = parseManifest(manifest.bytes, manifest.mediaType);
      const named = [
        ...blobs.map(({ digest, size }) => [digest, size] as const),
        ...manifests.map(({ digest }) => [digest, undefined] as const),
      ];
      return { digests: named.map(([digest]) => digest), sizes: named };
    } catch (error) {
      logger.debug({ error, digest: manifest.digest }, "a manifest could not be read");
      return { digests: [], sizes: [] };
    }
  }

  return {
    get: (digest) => sizes.get(digest),
    learn(manifest) {
      const named = read.get(manifest.bytes) ?? namedBy(manifest);
      read.set(manifest.bytes, named);
      for (const [digest, sizeBytes] of named.sizes) {
        // Nothing is moved to the end: that would cost a Map a new table every few requests.
        if (sizes.get(digest) === sizeBytes) continue;
        sizes.delete(digest);
        if (sizeBytes === undefined) continue;
        makeRoom(sizes, MAX_SIZES);
        sizes.set(digest, sizeBytes);
      }
      return named.digests;
    },
  };
}
