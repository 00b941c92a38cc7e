import type { Digest } from "@shoal/oci";
import type { StoreMetrics } from "./metrics.ts";
import type { BlobInfo } from "./types.ts";

/** The verified blobs, in memory. */
export interface BlobSet {
  readonly bytes: number;
  readonly size: number;
  has(digest: Digest): boolean;
  get(digest: Digest): BlobInfo | undefined;
  values(): Iterable<BlobInfo>;
  /** When the blob was written. Wall-clock milliseconds. */
  writtenMs(digest: Digest): number;
  add(info: BlobInfo, writtenMs: number): void;
  delete(digest: Digest): boolean;
}

export function createBlobSet(metrics: Pick<StoreMetrics, "blobs" | "blobBytes">): BlobSet {
  const blobs = new Map<Digest, BlobInfo>();
  const written = new Map<Digest, number>();
  let bytes = 0;

  function count(): void {
    metrics.blobs.set(blobs.size);
    metrics.blobBytes.set(bytes);
  }

  return {
    get bytes() {
      return bytes;
    },
    get size() {
      return blobs.size;
    },
    has: (digest) => blobs.has(digest),
    get: (digest) => blobs.get(digest),
    values: () => blobs.values(),
    writtenMs: (digest) => written.get(digest) ?? 0,
    add(info, writtenMs) {
      if (blobs.has(info.digest)) return;
      blobs.set(info.digest, info);
      written.set(info.digest, writtenMs);
      bytes += info.sizeBytes;
      count();
    },
    delete(digest) {
      const info = blobs.get(digest);
      if (info === undefined) return false;
      blobs.delete(digest);
      written.delete(digest);
      bytes -= info.sizeBytes;
      count();
      return true;
    },
  };
}
