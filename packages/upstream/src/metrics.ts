import type { RegistryHost } from "@shoal/oci";
import type { MetricsRegister } from "@shoal/runtime";
import type { PullLimit } from "./pull-limit.ts";
import { isDockerHub } from "./settings.ts";

export type RequestKind =
  | "manifest"
  | "manifest_head"
  | "blob"
  | "blob_head"
  | "tags"
  | "referrers"
  | "token";

export type RequestOutcome =
  | "ok"
  | "not_found"
  | "unauthorized"
  | "denied"
  | "rate_limited"
  | "unreachable"
  | "cancelled"
  | "failed";

/** What the registry client counts. */
export interface UpstreamMetrics {
  /** One request with its redirects has its response's headers, or has failed. */
  answered(kind: RequestKind, outcome: RequestOutcome, seconds: number): void;
  /** A registry told how many pulls it allows; only Docker Hub's are counted, as labels are a closed set. */
  pullsAllowed(registry: RegistryHost, limit: PullLimit): void;
  /** Body bytes that came from registries, whatever became of them. */
  received(bytes: number): void;
}

/** Registers the registry client's metrics. */
export function createUpstreamMetrics(register: MetricsRegister): UpstreamMetrics {
  const requests = register.counter({
    name: "shoal_upstream_requests_total",
    help: "Requests to registries, retries included, redirects not counted by themselves.",
    labelNames: ["kind", "outcome"],
  });
  const bytes = register.counter({
    name: "shoal_upstream_bytes_total",
    help: "Bytes of bodies read from registries.",
  });
  const seconds = register.histogram({
    name: "shoal_upstream_request_seconds",
    help: "Time until a registry's response headers.",
    labelNames: ["kind"],
    buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30],
  });
  const limits = register.gauge({
    name: "shoal_upstream_pulls_limit",
    help: "Pulls that Docker Hub allows in a window of time, as it last told.",
    labelNames: ["registry"],
  });
  const remaining = register.gauge({
    name: "shoal_upstream_pulls_remaining",
    help: "Pulls that Docker Hub still allows, as it last told.",
    labelNames: ["registry"],
  });
  return {
    pullsAllowed(registry, allowed) {
      if (!isDockerHub(registry)) return;
      limits.set(allowed.limit, { registry });
      remaining.set(allowed.remaining, { registry });
    },
    answered(kind, outcome, tookSeconds) {
      requests.add(1, { kind, outcome });
      seconds.observe(tookSeconds, { kind });
    },
    received(count) {
      bytes.add(count);
    },
  };
}

const OUTCOMES: Readonly<Record<string, RequestOutcome>> = {
  ERR_UPSTREAM_NOT_FOUND: "not_found",
  ERR_UPSTREAM_UNAUTHORIZED: "unauthorized",
  ERR_UPSTREAM_DENIED: "denied",
  ERR_UPSTREAM_RATE_LIMITED: "rate_limited",
  ERR_UPSTREAM_UNREACHABLE: "unreachable",
  ERR_UPSTREAM_UNKNOWN_HOST: "unreachable",
  ERR_UPSTREAM_TIMEOUT: "unreachable",
  ERR_UPSTREAM_PROXY: "unreachable",
};

/** The label for an error's code. */
export function outcomeOf(code: string): RequestOutcome {
  return OUTCOMES[code] ?? "failed";
}
