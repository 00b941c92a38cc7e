import { createHash } from "node:crypto";
import { CodedError } from "@shoal/runtime";

/** A line of the audit log is at most so long, without its newline. */
export const MAX_AUDIT_LINE_BYTES = 16 * 1024;
/** What the first record of all has for `previous`. */
export const AUDIT_ROOT = "0".repeat(64);
const VERSION = 1;

export type AuditValue = string | number | boolean | readonly string[];
export type AuditFields = Readonly<Record<string, AuditValue>>;

/** One record of the audit log. */
export interface AuditRecord {
  /** Counts from 1, over restarts and files. */
  readonly seq: number;
  /** RFC 3339, UTC. */
  readonly time: string;
  readonly kind: string;
  /** What the kind tells besides; docs/audit.md lists it. */
  readonly fields: AuditFields;
  /** SHA-256 of the line before, without its newline, in hex. */
  readonly previous: string;
}

const ENVELOPE: ReadonlySet<string> = new Set(["version", "seq", "time", "kind", "previous"]);
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/;
const KIND = /^[a-z][a-z-]{0,31}$/;
const HASH = /^[0-9a-f]{64}$/;

/** The record's line, without a newline. Fields that are named like the envelope's are left out. */
export function formatAuditRecord({ seq, time, kind, fields, previous }: AuditRecord): string {
  const own = Object.entries(fields).filter(([name]) => !ENVELOPE.has(name));
  return JSON.stringify({
    version: VERSION,
    seq,
    time,
    kind,
    ...Object.fromEntries(own),
    previous,
  });
}

/** What the next record has for `previous`. */
export function auditHash(line: Uint8Array | string): string {
  return createHash("sha256").update(line).digest("hex");
}

/**
 * Reads one line, without its newline. Only what {@link formatAuditRecord} writes is a record: no other spacing,
 * order or repetition of names.
 * @throws ERR_AUDIT_RECORD
 */
export function parseAuditRecord(line: Uint8Array): AuditRecord {
  if (line.length > MAX_AUDIT_LINE_BYTES) throw notRecord("it is longer than 16 KiB");
  const { version, seq, time, kind, previous, ...fields } = parseObject(line);
  if (version !== VERSION)
    throw notRecord(
      `it is of version ${JSON.stringify(version)}; read it with the Shoal of its time`,
    );
  if (typeof seq !== "number" || !Number.isSafeInteger(seq) || seq < 1)
    throw notRecord("its seq is no count");
  if (typeof time !== "string" || !TIME.test(time) || Number.isNaN(Date.parse(time)))
    throw notRecord("its time is none");
  if (typeof kind !== "string" || !KIND.test(kind)) throw notRecord("its kind is none");
  if (typeof previous !== "string" || !HASH.test(previous))
    throw notRecord("its previous is no SHA-256");
  for (const value of Object.values(fields))
    if (!isAuditValue(value)) throw notRecord("a field of it is no text, number or list of texts");
  const record = { seq, time, kind, fields: fields as AuditFields, previous };
  if (!Buffer.from(formatAuditRecord(record)).equals(line))
    throw notRecord("it is not written as Shoal writes it");
  return record;
}

function parseObject(line: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line));
  } catch {
    throw notRecord("it is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw notRecord("it is no JSON object");
  return value as Readonly<Record<string, unknown>>;
}

function isAuditValue(value: unknown): value is AuditValue {
  if (Array.isArray(value)) return value.every((one) => typeof one === "string");
  return ["string", "number", "boolean"].includes(typeof value);
}

function notRecord(fault: string): CodedError<"ERR_AUDIT_RECORD"> {
  return new CodedError("ERR_AUDIT_RECORD", `the line is no audit record: ${fault}`);
}
