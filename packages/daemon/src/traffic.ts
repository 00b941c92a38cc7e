import type { Counter, MetricDescription, MetricsRegister } from "@shoal/runtime";

/** Bytes since the start, for `shoal status`; read from the same counters that Prometheus scrapes. */
export interface Traffic {
  readonly register: MetricsRegister;
  total(name: string, label?: string): number;
}

/** Wraps a register so that its counters can be read as well. */
export function createTraffic(inner: MetricsRegister): Traffic {
  const totals = new Map<string, number>();

  function counter(description: MetricDescription): Counter {
    const counted = inner.counter(description);
    return {
      add(amount, labels = {}) {
        counted.add(amount, labels);
        for (const key of [
          description.name,
          ...Object.values(labels).map((value) => `${description.name} ${value}`),
        ])
          totals.set(key, (totals.get(key) ?? 0) + amount);
      },
    };
  }

  return {
    register: {
      counter,
      gauge: (description) => inner.gauge(description),
      histogram: (description) => inner.histogram(description),
    },
    total: (name, label) => totals.get(label === undefined ? name : `${name} ${label}`) ?? 0,
  };
}
