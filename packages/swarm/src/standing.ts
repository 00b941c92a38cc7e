import { type Clock, CodedError, hasCode } from "@shoal/runtime";
import { isFinal } from "@shoal/upstream";

const FIRST_REST_MS = 250;
const LONGEST_REST_MS = 5000;
/** Failures in a row, without a piece between them, after which the registry is given up for this blob. */
const MAX_FAILURES = 3;

/** Failures that the next try would only repeat, beside the registry's final answers. */
const DEFINITIVE = [
  "ERR_UPSTREAM_UNKNOWN_HOST",
  "ERR_UPSTREAM_TLS",
  "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
  "ERR_UPSTREAM_REDIRECT",
  "ERR_BLOB_SIZE",
] as const;

/** Whether, and from when, this machine may ask the upstream for one blob. */
export interface FetchStanding {
  mayFetch(): boolean;
  /** Whether no later try is planned. */
  readonly over: boolean;
  /** What the last failure was. */
  readonly lastError: unknown;
  /** A whole piece has arrived. */
  succeeded(): void;
  failed(error: unknown): void;
}

export function createFetchStanding(clock: Clock): FetchStanding {
  let failures = 0;
  let restUntilMs = Number.NEGATIVE_INFINITY;
  let over = false;
  let lastError: unknown;
  return {
    mayFetch: () => !over && clock.now() >= restUntilMs,
    get over() {
      return over;
    },
    get lastError() {
      return lastError;
    },
    succeeded() {
      failures = 0;
    },
    failed(error) {
      lastError = error;
      // A pause of the site is no failure of this member's: it waits, and tries as often as before.
      if (error instanceof CodedError && error.details["paused"] === true) {
        restUntilMs = clock.now() + (retryAfterMs(error) ?? 0);
        return;
      }
      failures += 1;
      if (isFinal(error) || hasCode(error, ...DEFINITIVE) || failures >= MAX_FAILURES) over = true;
      const restMs = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** (failures - 1));
      restUntilMs = clock.now() + (retryAfterMs(error) ?? restMs);
    },
  };
}

function retryAfterMs(error: unknown): number | undefined {
  if (!(error instanceof CodedError)) return undefined;
  const told = error.details["retryAfterMs"];
  return typeof told === "number" ? told : undefined;
}
