import type { Counter, Gauge, MetricsRegister } from "@shoal/runtime";

export interface NetworkMetrics {
  readonly members: Gauge;
  /** `direction`: in or out; `lane`: control or bulk. */
  readonly bytes: Counter;
  /** `outcome`: admitted or refused. */
  readonly admissions: Counter;
  readonly requests: Counter;
  /** Unix time. 0 without one. */
  readonly certificateEnd: Gauge;
  readonly revocations: Gauge;
}

export function createNetworkMetrics(register: MetricsRegister): NetworkMetrics {
  return {
    members: register.gauge({
      name: "shoal_network_members",
      help: "Members that can be asked now",
    }),
    bytes: register.counter({
      name: "shoal_network_bytes_total",
      help: "Bytes of frames exchanged with members",
      labelNames: ["direction", "lane"],
    }),
    admissions: register.counter({
      name: "shoal_network_admissions_total",
      help: "Peers that asked to be admitted or were asked, by outcome",
      labelNames: ["outcome"],
    }),
    certificateEnd: register.gauge({
      name: "shoal_network_certificate_end_timestamp_seconds",
      help: "When this machine's certificate ends, unless it is renewed before; 0 without one",
    }),
    revocations: register.gauge({
      name: "shoal_network_revocations",
      help: "Members that were revoked, as far as this machine has heard",
    }),
    requests: register.counter({
      name: "shoal_network_requests_total",
      help: "Requests to members, by outcome",
      labelNames: ["lane", "outcome"],
    }),
  };
}
