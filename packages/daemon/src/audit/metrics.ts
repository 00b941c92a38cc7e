import type { Counter, Gauge, MetricsRegister } from "@shoal/runtime";

export interface AuditMetrics {
  /** `outcome`: written or dropped. */
  readonly records: Counter;
  readonly failing: Gauge;
}

export function createAuditMetrics(register: MetricsRegister): AuditMetrics {
  return {
    records: register.counter({
      name: "shoal_audit_records_total",
      help: "Records of the audit log, by what became of them",
      labelNames: ["outcome"],
    }),
    failing: register.gauge({
      name: "shoal_audit_failing",
      help: "1 while the audit log can't be written",
    }),
  };
}
