import { type Digest, MAX_MANIFEST_BYTES, parseManifest } from "@shoal/oci";
import type { RecordTable, Store, StoredImage } from "../types.ts";

export interface ImageGraphComponents {
  readonly stat: Store["stat"];
  /** A blob's bytes; reading it is no use of it. */
  readonly read: (digest: Digest) => Promise<Uint8Array | undefined>;
  /** The media types of manifests. */
  readonly manifests: RecordTable<{ readonly mediaType: string }>;
  readonly images: () => readonly StoredImage[];
  readonly pinned: () => readonly Digest[];
}

/** What the manifests in the store name. */
export interface ImageGraph {
  /** By manifest, those that have come or gone since the last time included. */
  load(): Promise<ReadonlyMap<Digest, readonly Digest[]>>;
}

export function createImageGraph(components: ImageGraphComponents): ImageGraph {
  const { stat, read, manifests, images, pinned } = components;
  interface Known {
    readonly children: readonly Digest[];
    /** Media types of those children that are manifests. */
    readonly below: readonly (readonly [Digest, string])[];
  }
  const known = new Map<Digest, Known>();

  async function look(digest: Digest, mediaType: string): Promise<Known | undefined> {
    const info = stat(digest);
    if (info === undefined || info.sizeBytes > MAX_MANIFEST_BYTES) return undefined;
    const bytes = await read(digest).catch(() => undefined);
    if (bytes === undefined) return undefined;
    try {
      const parsed = parseManifest(bytes, mediaType);
      return {
        children: [...parsed.manifests, ...parsed.blobs].map((child) => child.digest),
        below: parsed.manifests.map((child) => [child.digest, child.mediaType] as const),
      };
    } catch {
      // An image that is broken at its registry names nothing that could be kept with it.
      return { children: [], below: [] };
    }
  }

  return {
    async load() {
      // What a manifest leads to stays known while it is wanted: one that rotted is fetched again.
      const wanted = new Set([...images().map(({ descriptor }) => descriptor.digest), ...pinned()]);
      for (const digest of known.keys())
        if (stat(digest) === undefined && !wanted.has(digest)) known.delete(digest);
      const mediaTypes = new Map<Digest, string>();
      for (const { descriptor } of images())
        mediaTypes.set(descriptor.digest, descriptor.mediaType);
      for await (const [digest, { mediaType }] of manifests.entries())
        mediaTypes.set(digest as Digest, mediaType);
      for (const [digest, mediaType] of mediaTypes) {
        const found = known.get(digest) ?? (await look(digest, mediaType));
        if (found === undefined) continue;
        known.set(digest, found);
        // A map that grows is read to its end.
        for (const [child, childType] of found.below)
          if (!mediaTypes.has(child)) mediaTypes.set(child, childType);
      }
      return new Map([...known].map(([digest, { children }]) => [digest, children]));
    },
  };
}
