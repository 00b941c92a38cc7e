import type { Counter, Histogram, MetricsRegister } from "@shoal/runtime";

export interface MirrorMetrics {
  /** `kind`: base, manifest, blob, tags, referrers, upload or unknown; `status`: 2xx to 5xx. */
  readonly requests: Counter;
  readonly seconds: Histogram;
  readonly sentBytes: Counter;
}

export function createMirrorMetrics(register: MetricsRegister): MirrorMetrics {
  return {
    requests: register.counter({
      name: "shoal_mirror_requests_total",
      help: "Requests of container engines, by what they asked for and the answer's class",
      labelNames: ["kind", "status"],
    }),
    seconds: register.histogram({
      name: "shoal_mirror_request_seconds",
      help: "Time from a request's headers to the end of its answer",
      labelNames: ["kind"],
      buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2, 10, 60, 300],
    }),
    sentBytes: register.counter({
      name: "shoal_mirror_sent_bytes_total",
      help: "Bytes of manifests and blobs given to container engines",
    }),
  };
}
