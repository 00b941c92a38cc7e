import type { Digest } from "@shoal/oci";
import type { Manifest } from "./manifests.ts";

/** What an entry takes beside its bytes, about. */
const ENTRY_BYTES = 512;

/** The manifests that were used last, in memory: engines ask for the same ones again and again. */
export interface ManifestCache {
  get(digest: Digest): Manifest | undefined;
  set(manifest: Manifest): void;
  delete(digest: Digest): void;
}

/**
 * Keeps two generations of half the limit each: when one is full, it takes the place of the one before it. A Map
 * that is kept in order by deleting and adding makes a new table every few uses, and the collector takes each for
 * alive because of the one before.
 * @param limitBytes of all of them; one that would take more than an eighth of it is not kept
 */
export function createManifestCache(limitBytes: number): ManifestCache {
  let recent = new Map<Digest, Manifest>();
  let before = new Map<Digest, Manifest>();
  let recentBytes = 0;

  function add(manifest: Manifest): void {
    const bytes = manifest.bytes.length + ENTRY_BYTES;
    if (bytes * 8 > limitBytes) return;
    if (recentBytes + bytes > limitBytes / 2) {
      before = recent;
      recent = new Map();
      recentBytes = 0;
    }
    recent.set(manifest.digest, manifest);
    recentBytes += bytes;
  }

  return {
    get(digest) {
      const found = recent.get(digest);
      if (found !== undefined) return found;
      const earlier = before.get(digest);
      if (earlier !== undefined) add(earlier);
      return earlier;
    },
    set(manifest) {
      before.delete(manifest.digest);
      if (!recent.has(manifest.digest)) add(manifest);
      else recent.set(manifest.digest, manifest);
    },
    delete(digest) {
      recent.delete(digest);
      before.delete(digest);
    },
  };
}
