import type { RegistryHost } from "@shoal/oci";
import { type Clock, CodedError, type Logger } from "@shoal/runtime";
import type { PullLimit } from "./pull-limit.ts";
import type { RegistryHealth } from "./types.ts";

/** A 429 without `Retry-After` is waited out this long. */
const DEFAULT_BACK_OFF_MS = 10_000;
/** Docker Hub counts over six hours; nobody is taken at his word for longer. */
const MAX_BACK_OFF_MS = 6 * 3_600_000;

interface State {
  untilMs: number;
  lastErrorCode?: string;
  pullLimit?: PullLimit;
}

/** Remembers which registries want to be left alone, and how they fare. */
export interface BackOff {
  /** @throws ERR_UPSTREAM_RATE_LIMITED while the registry's time has not come */
  check(registry: RegistryHost): void;
  /** Notes a 429 or a 503 with `Retry-After`, and makes the error that tells of it. */
  begin(registry: RegistryHost, status: number, retryAfter: string | undefined): CodedError;
  /** Notes what another machine was told. */
  pause(registry: RegistryHost, forMs: number): void;
  /** Notes how many pulls the registry still allows. */
  allowed(registry: RegistryHost, limit: PullLimit): void;
  succeeded(registry: RegistryHost): void;
  failed(registry: RegistryHost, code: string): void;
  health(): readonly RegistryHealth[];
}

export function createBackOff(components: {
  readonly clock: Clock;
  readonly logger: Logger;
}): BackOff {
  const { clock, logger } = components;
  const known = new Map<RegistryHost, State>();

  function stateOf(registry: RegistryHost): State {
    const state = known.get(registry) ?? { untilMs: Number.NEGATIVE_INFINITY };
    known.set(registry, state);
    return state;
  }
  function limited(registry: RegistryHost, leftMs: number, why: string): CodedError {
    const seconds = Math.ceil(leftMs / 1000);
    return new CodedError(
      "ERR_UPSTREAM_RATE_LIMITED",
      `${registry} ${why}; it may be asked again in ${seconds} s, and a login often raises its limit`,
      { details: { registry, retryAfterMs: Math.ceil(leftMs) } },
    );
  }

  return {
    check(registry) {
      const leftMs = (known.get(registry)?.untilMs ?? Number.NEGATIVE_INFINITY) - clock.now();
      if (leftMs > 0) throw limited(registry, leftMs, "has asked for a pause");
    },
    begin(registry, status, retryAfter) {
      const askedMs = parseRetryAfter(retryAfter, clock.wallNow()) ?? DEFAULT_BACK_OFF_MS;
      const delayMs = Math.min(askedMs, MAX_BACK_OFF_MS);
      logger.warn({ registry, status, delayMs }, "a registry has asked for a pause");
      const state = stateOf(registry);
      state.untilMs = Math.max(state.untilMs, clock.now() + delayMs);
      state.lastErrorCode = "ERR_UPSTREAM_RATE_LIMITED";
      return limited(registry, delayMs, status === 429 ? "limits our requests" : "is overloaded");
    },
    pause(registry, forMs) {
      const state = stateOf(registry);
      state.untilMs = Math.max(state.untilMs, clock.now() + Math.min(forMs, MAX_BACK_OFF_MS));
    },
    allowed(registry, limit) {
      stateOf(registry).pullLimit = limit;
    },
    succeeded(registry) {
      const state = known.get(registry);
      if (state !== undefined) delete state.lastErrorCode;
      else stateOf(registry);
    },
    failed(registry, code) {
      stateOf(registry).lastErrorCode = code;
    },
    health() {
      const nowMs = clock.now();
      return [...known].map(([registry, { untilMs, lastErrorCode, pullLimit }]) => ({
        registry,
        ...(untilMs > nowMs ? { backOffUntilMs: clock.wallNow() + untilMs - nowMs } : {}),
        ...(lastErrorCode === undefined ? {} : { lastErrorCode }),
        ...(pullLimit === undefined ? {} : { pullLimit }),
      }));
    },
  };
}

/** `Retry-After` as a delay: seconds, or a date against the wall clock. RFC 9110, section 10.2.3. */
export function parseRetryAfter(text: string | undefined, wallNowMs: number): number | undefined {
  const trimmed = text?.trim() ?? "";
  if (/^\d{1,9}$/.test(trimmed)) return Number(trimmed) * 1000;
  const dateMs = /[a-z]/i.test(trimmed) ? Date.parse(trimmed) : Number.NaN;
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - wallNowMs);
}
