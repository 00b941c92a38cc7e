import type { AuditFields } from "@shoal/api";
import {
  type AuditEvent,
  type AuditLog,
  type Clock,
  CodedError,
  type Logger,
  type MetricsRegister,
} from "@shoal/runtime";
import { type AuditEntry, createAuditFile } from "./audit-file.ts";
import { createGathering } from "./gathering.ts";
import { createAuditMetrics } from "./metrics.ts";

/** Records that wait for the disk at most; those beyond are counted and dropped. */
const MOST_WAITING = 10_000;
const MOST_WAITING_BYTES = 4 * 1024 * 1024;
const BATCH = 256;
/** Records are written together when they come within this time. Milliseconds. */
const BATCH_MS = 200;
/** What was written is made durable this long after. Milliseconds. */
const SYNC_MS = 5000;
const RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;
/** A stop waits for the disk so long. Milliseconds. */
const LAST_MS = 2000;
/** What a record takes besides its fields. */
const ENVELOPE_BYTES = 200;

export interface AuditLogComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
}

export interface AuditLogInit {
  readonly folder: string;
  readonly maxBytes: number;
  readonly files: number;
}

/** How the log is. */
export interface AuditState {
  readonly state: "on" | "failing";
  readonly folder: string;
  /** Number of the newest record. */
  readonly seq: number;
  /** Records since the start that could not be kept. */
  readonly dropped: number;
}

/** The audit log on disk. Disposing writes what waits, for at most 2 s. */
export interface StartedAuditLog extends AuditLog, AsyncDisposable {
  state(): AuditState;
  /** Resolves when all that was recorded so far has been written or has failed to be. */
  flush(): Promise<void>;
}

/** Records wait in memory until they are written: a disk that is full, slow or gone is nobody else's trouble. */
export function createAuditLog(
  { clock, logger, metrics: register }: AuditLogComponents,
  init: AuditLogInit,
): StartedAuditLog {
  const metrics = createAuditMetrics(register);
  const file = createAuditFile({ ...init, now: () => clock.wallNow() });
  const gathering = createGathering(clock, enqueue);
  let waiting: (AuditEntry & { readonly bytes: number })[] = [];
  let waitingBytes = 0;
  let dropped = 0;
  let droppedUntold = 0;
  let isFailing = false;
  let isClosed = false;
  let retryMs = RETRY_MS;
  let writing: Promise<void> = Promise.resolve();
  let timer: Disposable | undefined;
  let syncTimer: Disposable | undefined;

  function now(): string {
    return new Date(clock.wallNow()).toISOString();
  }

  function drop(count: number): void {
    dropped += count;
    droppedUntold += count;
    metrics.records.add(count, { outcome: "dropped" });
  }

  function enqueue(kind: string, fields: AuditFields): void {
    const bytes = ENVELOPE_BYTES + JSON.stringify(fields).length;
    const isFull = waiting.length >= MOST_WAITING || waitingBytes + bytes > MOST_WAITING_BYTES;
    if (isFull || isClosed) {
      drop(1);
      return;
    }
    waiting.push({ time: now(), kind, fields, bytes });
    waitingBytes += bytes;
    schedule(isFailing ? retryMs : BATCH_MS);
  }

  function schedule(delayMs: number): void {
    timer ??= clock.schedule(delayMs, () => {
      timer = undefined;
      write();
    });
  }

  function write(): void {
    writing = writing.then(writeWaiting).catch(failed);
  }

  async function writeWaiting(): Promise<void> {
    while (waiting.length > 0 || droppedUntold > 0) {
      const batch = waiting.slice(0, BATCH);
      const told = droppedUntold;
      const entries: AuditEntry[] = [
        ...batch,
        // After those that came before them.
        ...(told > 0 && batch.length === waiting.length
          ? [{ time: now(), kind: "dropped", fields: { count: told } }]
          : []),
      ];
      const rotated = await file.append(entries);
      waiting = waiting.slice(batch.length);
      waitingBytes = waiting.reduce((sum, { bytes }) => sum + bytes, 0);
      if (entries.length > batch.length) droppedUntold -= told;
      metrics.records.add(entries.length, { outcome: "written" });
      if (rotated) logger.info({ seq: file.seq }, "the audit log goes on in a new file");
    }
    if (isFailing) logger.info({ folder: init.folder }, "the audit log is written again");
    isFailing = false;
    retryMs = RETRY_MS;
    metrics.failing.set(0);
    syncTimer ??= clock.schedule(SYNC_MS, () => {
      syncTimer = undefined;
      writing = writing.then(async () => await file.sync()).catch(failed);
    });
  }

  function failed(error: unknown): void {
    if (!isFailing)
      logger.error(
        { error, folder: init.folder },
        "the audit log can't be written; pulls go on, and records wait in memory",
      );
    else retryMs = Math.min(MAX_RETRY_MS, retryMs * 2);
    isFailing = true;
    metrics.failing.set(1);
    if (!isClosed) schedule(retryMs);
  }

  return {
    record(event: AuditEvent) {
      gathering.add(event);
    },
    state: () => ({
      state: isFailing ? "failing" : "on",
      folder: init.folder,
      seq: file.seq,
      dropped,
    }),
    async flush() {
      gathering.flush();
      write();
      await writing;
    },
    async [Symbol.asyncDispose]() {
      gathering.flush();
      gathering[Symbol.dispose]();
      isClosed = true;
      timer?.[Symbol.dispose]();
      syncTimer?.[Symbol.dispose]();
      write();
      writing = writing.then(async () => await file.sync()).catch(failed);
      const last = writing.then(async () => await file[Symbol.asyncDispose]());
      const late = Promise.withResolvers<void>();
      using _limit = clock.schedule(LAST_MS, () =>
        late.reject(
          new CodedError(
            "ERR_AUDIT_SLOW",
            "the disk of the audit log does not answer; look whether it is well",
          ),
        ),
      );
      await Promise.race([last, late.promise]).catch((error: unknown) => {
        logger.error({ error }, "the end of the audit log was not written");
      });
      syncTimer?.[Symbol.dispose]();
      timer?.[Symbol.dispose]();
    },
  };
}
