/**
 * What every other package stands on: errors with codes, cancellation, coalescing, time, files that outlive a
 * power cut, and the interfaces of logging, metrics and the audit log. It imports nothing of Shoal.
 *
 * ```ts
 * const lookups = createCoalescer<string>();
 * const value = await lookups.run("key", async (signal) => await lookUp(signal), { signal });
 * ```
 *
 * @packageDocumentation
 */
export { type AbortOptions, deadline, limitTime, raceSignal, type TimeLimit } from "./abort.ts";
export { type AuditEvent, type AuditLog, noAuditLog } from "./audit-log.ts";
export { type Clock, sleep, systemClock } from "./clock.ts";
export { type Coalescer, createCoalescer } from "./coalesce.ts";
export { CodedError, type CodedErrorOptions, type ErrorDetails, hasCode } from "./coded-error.ts";
export { makeFolder, removeFile, replaceFile, type ReplaceOptions, syncFolder } from "./files.ts";
export { type LogFields, type Logger, silentLogger } from "./logger.ts";
export { keepNewest, makeRoom } from "./make-room.ts";
export { freeMemory } from "./memory.ts";
export {
  type Counter,
  type Gauge,
  type Histogram,
  type Labels,
  type MetricDescription,
  type MetricsRegister,
  noMetrics,
} from "./metrics.ts";
export { reuseFor } from "./reuse.ts";
export { createTurns, type InTurn } from "./turns.ts";
