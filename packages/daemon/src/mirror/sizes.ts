import type { Digest } from "@shoal/oci";

const MAX_SIZES = 20_000;

/** Sizes that manifests gave to blobs, so that a bare GET of a blob needs no question. */
export interface Sizes {
  get(digest: Digest): number | undefined;
  set(digest: Digest, sizeBytes: number): void;
  delete(digest: Digest): void;
}

/** Keeps the most recently named 20,000. */
export function createSizes(): Sizes {
  const sizes = new Map<Digest, number>();
  return {
    get: (digest) => sizes.get(digest),
    set(digest, sizeBytes) {
      sizes.delete(digest);
      sizes.set(digest, sizeBytes);
      if (sizes.size <= MAX_SIZES) return;
      const [oldest] = sizes.keys();
      sizes.delete(oldest!);
    },
    delete(digest) {
      sizes.delete(digest);
    },
  };
}
