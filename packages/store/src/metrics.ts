import type { Counter, Gauge, MetricsRegister } from "@shoal/runtime";

export interface StoreMetrics {
  readonly blobs: Gauge;
  readonly blobBytes: Gauge;
  /** `outcome`: committed, mismatch or failed. */
  readonly commits: Counter;
  readonly removed: Counter;
}

export function createStoreMetrics(register: MetricsRegister): StoreMetrics {
  return {
    blobs: register.gauge({ name: "shoal_store_blobs", help: "Verified blobs in the store" }),
    blobBytes: register.gauge({ name: "shoal_store_blob_bytes", help: "Bytes of verified blobs" }),
    commits: register.counter({
      name: "shoal_store_commits_total",
      help: "Blobs that were verified, by outcome",
      labelNames: ["outcome"],
    }),
    removed: register.counter({ name: "shoal_store_removed_total", help: "Blobs removed" }),
  };
}
