import type { Counter, Gauge, MetricsRegister } from "@shoal/runtime";

export interface SwarmMetrics {
  /** `source`: upstream or peers. */
  readonly receivedBytes: Counter;
  readonly sentBytes: Counter;
  readonly transfers: Gauge;
  /** `from`: upstream, site or store; `stale`: yes or no. */
  readonly resolutions: Counter;
  readonly verificationFailures: Counter;
  readonly falseBlobs: Counter;
  readonly banned: Gauge;
  readonly passedThrough: Counter;
}

export function createSwarmMetrics(register: MetricsRegister): SwarmMetrics {
  return {
    receivedBytes: register.counter({
      name: "shoal_swarm_received_bytes_total",
      help: "Bytes of blobs that came in, by source",
      labelNames: ["source"],
    }),
    sentBytes: register.counter({
      name: "shoal_swarm_sent_bytes_total",
      help: "Bytes of blobs given to other members",
    }),
    transfers: register.gauge({
      name: "shoal_swarm_transfers",
      help: "Blobs that are arriving now",
    }),
    resolutions: register.counter({
      name: "shoal_swarm_resolutions_total",
      help: "Tags and manifest digests resolved, by where the answer came from",
      labelNames: ["from", "stale"],
    }),
    verificationFailures: register.counter({
      name: "shoal_swarm_verification_failures_total",
      help: "Members found to have given wrong pieces",
    }),
    falseBlobs: register.counter({
      name: "shoal_swarm_false_blobs_total",
      help: "Blobs of which members vouched for wrong pieces",
    }),
    banned: register.gauge({
      name: "shoal_swarm_distrusted_members",
      help: "Members from whom nothing is taken: banned, or struck three times within an hour",
    }),
    passedThrough: register.counter({
      name: "shoal_swarm_passed_through_total",
      help: "Blobs that were streamed to clients unstored because the store could not take them",
    }),
  };
}
