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

/** @param limitBytes of all of them; one that would take more than an eighth of it is not kept */
export function createManifestCache(limitBytes: number): ManifestCache {
  const kept = new Map<Digest, Manifest>();
  let keptBytes = 0;

  function remove(digest: Digest): Manifest | undefined {
    const manifest = kept.get(digest);
    if (manifest === undefined) return undefined;
    kept.delete(digest);
    keptBytes -= manifest.bytes.length + ENTRY_BYTES;
    return manifest;
  }

  function add(manifest: Manifest): void {
    kept.set(manifest.digest, manifest);
    keptBytes += manifest.bytes.length + ENTRY_BYTES;
  }

  return {
    get(digest) {
      const manifest = remove(digest);
      if (manifest !== undefined) add(manifest);
      return manifest;
    },
    set(manifest) {
      remove(manifest.digest);
      if ((manifest.bytes.length + ENTRY_BYTES) * 8 > limitBytes) return;
      add(manifest);
      for (const oldest of kept.keys()) {
        if (keptBytes <= limitBytes) return;
        remove(oldest);
      }
    },
    delete(digest) {
      remove(digest);
    },
  };
}
