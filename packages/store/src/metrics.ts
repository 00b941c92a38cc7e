import type { Counter, Gauge, MetricsRegister } from "@shoal/runtime";

export interface StoreMetrics {
  readonly blobs: Gauge;
  readonly blobBytes: Gauge;
  /** `outcome`: committed, mismatch or failed. */
  readonly commits: Counter;
  readonly removed: Counter;
  /** `reason`: those of GcReason. */
  readonly collectedBytes: Counter;
  /** `fault`: those of ScrubFinding. */
  readonly rotten: Counter;
  readonly scrubbedBytes: Counter;
  /** 1 for the `state` that it is in: ok, full, readOnly or failing. */
  readonly state: Gauge;
  readonly usedBytes: Gauge;
  readonly capacityBytes: Gauge;
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
    collectedBytes: register.counter({
      name: "shoal_store_collected_bytes_total",
      help: "Bytes that were removed to make room, by reason",
      labelNames: ["reason"],
    }),
    rotten: register.counter({
      name: "shoal_store_rotten_total",
      help: "Blobs that were no longer what they were, by fault",
      labelNames: ["fault"],
    }),
    scrubbedBytes: register.counter({
      name: "shoal_store_scrubbed_bytes_total",
      help: "Bytes of blobs that were read to compare them with their digests",
    }),
    state: register.gauge({
      name: "shoal_store_state",
      help: "1 for the state that the store is in: ok, full, readOnly or failing",
      labelNames: ["state"],
    }),
    usedBytes: register.gauge({
      name: "shoal_store_used_bytes",
      help: "Bytes of blobs and of what is arriving",
    }),
    capacityBytes: register.gauge({
      name: "shoal_store_capacity_bytes",
      help: "Bytes that the store may take: its quota, or what the disk has above the floor",
    }),
  };
}
