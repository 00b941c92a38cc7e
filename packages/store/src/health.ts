import { type Clock, CodedError, hasCode, type Logger } from "@shoal/runtime";
import type { Gauge } from "@shoal/runtime";

/** How often a store that takes nothing is tried again. Milliseconds. */
const PROBE_MS = 5000;
/** A store that has refused nothing for so long has no reason to be called full. Milliseconds. */
const FULL_MS = 300_000;

/** Whether the store takes what arrives. */
export type StoreState = "ok" | "full" | "readOnly" | "failing";
const STATES: readonly StoreState[] = ["ok", "full", "readOnly", "failing"];

export interface StoreCondition {
  readonly state: StoreState;
  /** What it failed at last, with what to do about it; absent when ok. */
  readonly why?: string;
}

export interface HealthComponents {
  /** Tries to write. @throws what keeps the store from it */
  readonly probe: (neededBytes: number) => Promise<void>;
  /** Writing has become possible again. */
  readonly onRecovered: () => Promise<void>;
  readonly stateGauge: Gauge;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * What the store's own writing has shown of its disk. It is tried again until it works: nobody has to restart
 * the daemon when there is room again, or the disk is back.
 */
export interface StoreHealth extends Disposable {
  readonly condition: StoreCondition;
  /** @throws at once what a disk that is read-only or fails would throw after a while */
  ensureWritable(): void;
  /** Something could not be written. Other errors than those of the disk change nothing. */
  failed(error: unknown): void;
  /** So many bytes found room. */
  fitted(sizeBytes: number): void;
}

export function createStoreHealth(components: HealthComponents): StoreHealth {
  const { probe, onRecovered, stateGauge, clock, logger } = components;
  let state: StoreState = "ok";
  let cause: CodedError | undefined;
  let neededBytes = 0;
  let failedMs = 0;
  let timer: Disposable | undefined;
  let disposed = false;
  show();

  function show(): void {
    for (const one of STATES) stateGauge.set(one === state ? 1 : 0, { state: one });
  }

  function become(next: StoreState): void {
    if (next === state) return;
    const before = state;
    state = next;
    show();
    if (next === "ok") {
      cause = undefined;
      timer?.[Symbol.dispose]();
      timer = undefined;
      logger.info({ before }, "the store takes blobs again");
    } else {
      logger.warn(
        { state, error: cause },
        "the store takes no more; what it can't take passes through to clients unstored",
      );
      if (before === "ok") probeLater();
    }
  }

  function probeLater(): void {
    timer?.[Symbol.dispose]();
    if (disposed) return;
    timer = clock.schedule(PROBE_MS, () => {
      tryAgain().catch((error: unknown) =>
        logger.debug({ error }, "the store still takes nothing"),
      );
    });
  }

  async function tryAgain(): Promise<void> {
    const isOld = state === "full" && clock.now() - failedMs > FULL_MS;
    try {
      await probe(isOld ? 0 : neededBytes);
      if (disposed || state === "ok") return;
      await onRecovered();
      become("ok");
    } catch (error) {
      if (stateOf(error) !== undefined && stateOf(error) !== "full") failed(error);
      throw error;
    } finally {
      if (state !== "ok") probeLater();
    }
  }

  function failed(error: unknown): void {
    const next = stateOf(error);
    if (next === undefined) return;
    const needed = (error as CodedError).details["neededBytes"];
    // The least of what was refused: when that fits, the store takes blobs again.
    const bytes = typeof needed === "number" ? needed : 0;
    neededBytes = state === "full" ? Math.min(neededBytes, bytes) : bytes;
    cause = error as CodedError;
    failedMs = clock.now();
    become(next);
  }

  return {
    get condition() {
      return cause === undefined ? { state } : { state, why: cause.message };
    },
    ensureWritable() {
      if (cause !== undefined && state !== "ok" && state !== "full")
        throw new CodedError(cause.code, cause.message, { cause, details: cause.details });
    },
    failed,
    fitted(sizeBytes) {
      if (state === "full" && sizeBytes >= neededBytes) become("ok");
    },
    [Symbol.dispose]() {
      disposed = true;
      timer?.[Symbol.dispose]();
    },
  };
}

/** What an error says of the store as a whole. */
function stateOf(error: unknown): StoreState | undefined {
  if (hasCode(error, "ERR_STORE_FULL")) return "full";
  if (hasCode(error, "ERR_STORE_READ_ONLY")) return "readOnly";
  return hasCode(error, "ERR_STORE_IO", "ERR_STORE_PERMISSION") ? "failing" : undefined;
}
