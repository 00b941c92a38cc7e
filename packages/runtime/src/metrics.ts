/** Label values are closed sets: never a digest, a tag or a peer. */
export type Labels = Readonly<Record<string, string>>;

export interface MetricDescription {
  /** Prometheus name, ending in `_total`, `_bytes` or `_seconds` where it has a unit. */
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
}

export interface Counter {
  add(amount: number, labels?: Labels): void;
}
export interface Gauge {
  set(value: number, labels?: Labels): void;
}
export interface Histogram {
  observe(value: number, labels?: Labels): void;
}

/** Where a package registers what it measures; each `createXMetrics(register)` takes one. */
export interface MetricsRegister {
  counter(description: MetricDescription): Counter;
  gauge(description: MetricDescription): Gauge;
  histogram(description: MetricDescription & { readonly buckets: readonly number[] }): Histogram;
}

/** Measures nothing. */
export const noMetrics: MetricsRegister = {
  counter: () => ({ add() {} }),
  gauge: () => ({ set() {} }),
  histogram: () => ({ observe() {} }),
};
