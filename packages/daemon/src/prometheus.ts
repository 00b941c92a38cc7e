import type { Labels, MetricDescription, MetricsRegister } from "@shoal/runtime";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** A register whose metrics Prometheus can scrape. */
export interface PrometheusRegister extends MetricsRegister {
  readonly contentType: string;
  /** Everything in the text format of Prometheus. */
  text(): Promise<string>;
}

/** @param version of Shoal, told by `shoal_build_info` */
export function createPrometheusRegister(version: string): PrometheusRegister {
  const registry = new Registry();
  // The default of 10 ms would be most of what an idle daemon costs: 100 wake-ups a second.
  collectDefaultMetrics({
    register: registry,
    prefix: "shoal_",
    eventLoopMonitoringPrecision: 200,
  });
  const configuration = (description: MetricDescription) => ({
    name: description.name,
    help: description.help,
    labelNames: [...(description.labelNames ?? [])],
    registers: [registry],
  });
  const register: PrometheusRegister = {
    counter(description) {
      const counter = new Counter(configuration(description));
      return { add: (amount, labels: Labels = {}) => counter.inc(labels, amount) };
    },
    gauge(description) {
      const gauge = new Gauge(configuration(description));
      return { set: (value, labels: Labels = {}) => gauge.set(labels, value) };
    },
    histogram(description) {
      const histogram = new Histogram({
        ...configuration(description),
        buckets: [...description.buckets],
      });
      return { observe: (value, labels: Labels = {}) => histogram.observe(labels, value) };
    },
    contentType: registry.contentType,
    text: async () => await registry.metrics(),
  };
  register
    .gauge({ name: "shoal_build_info", help: "The running version", labelNames: ["version"] })
    .set(1, { version });
  return register;
}
