import type { Counter, Gauge, MetricsRegister } from "@shoal/runtime";

export interface NetworkMetrics {
  readonly members: Gauge;
  /** `direction`: in or out; `lane`: control or bulk. */
  readonly bytes: Counter;
  /** `outcome`: admitted or refused. */
  readonly admissions: Counter;
  readonly requests: Counter;
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
    requests: register.counter({
      name: "shoal_network_requests_total",
      help: "Requests to members, by outcome",
      labelNames: ["lane", "outcome"],
    }),
  };
}
