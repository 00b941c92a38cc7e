import {
  type AuditRecord,
  type AuditVerdict,
  CodedError,
  createAuditVerifier,
  parseAuditRecord,
} from "@shoal/api";
import { linesOf, readAudit } from "./audit-files.ts";
import { EXIT } from "./exit-codes.ts";
import { wrapBeside } from "./format.ts";
import { plain, printable } from "./text.ts";

/** Goes through a log from its oldest record to its newest. @throws ERR_AUDIT_FILE */
export async function verifyAudit(paths: readonly string[]): Promise<AuditVerdict> {
  return await readAudit(paths, async (log) => {
    const verifier = createAuditVerifier(log.head);
    for await (const { file, line, bytes, isWhole, isNewest } of linesOf(log))
      if (isWhole) verifier.line(bytes, file, line);
      else verifier.rest(bytes, file, line, isNewest);
    return verifier.end();
  });
}

export function exitCodeOfVerdict({ intact }: AuditVerdict): number {
  return intact ? EXIT.ok : EXIT.failed;
}

export function verdictLines(verdict: AuditVerdict, columns: number): string[] {
  const { intact, records, first, last, findings, notes } = verdict;
  const span =
    first === undefined || last === undefined
      ? "no record"
      : `records ${first.seq} to ${last.seq}, from ${first.time} to ${last.time}`;
  const found = findings.map(
    ({ file, line, problem, message }) => `✗ ${file}:${line}: ${problem}: ${message}`,
  );
  return [
    ...found.flatMap((text) => hanging(printable(text), columns)),
    ...notes.flatMap((note) => hanging(printable(`– ${note}`), columns)),
    ...hanging(
      intact
        ? `✓ intact: ${span}`
        : `✗ altered, or damaged: ${findings.length} findings in ${records} records`,
      columns,
    ),
    ...(last === undefined ? [] : hanging(`  newest: ${last.hash}`, columns)),
  ];
}

/** Wrapped so that what follows a mark stands below what follows it. */
function hanging(text: string, columns: number): string[] {
  const [first = "", ...more] = wrapBeside(text, columns, 2);
  return [first.slice(2), ...more];
}

export interface ShowOptions {
  /** The newest of so many. */
  readonly lines: number;
  readonly kind?: string | undefined;
}

/** The newest records, the oldest of them first. @throws ERR_AUDIT_FILE */
export async function newestRecords(
  paths: readonly string[],
  { lines, kind }: ShowOptions,
): Promise<AuditRecord[]> {
  return await readAudit(paths, async (log) => {
    const records: AuditRecord[] = [];
    for await (const { bytes, isWhole } of linesOf(log)) {
      const record = isWhole ? recordOf(bytes) : undefined;
      if (record === undefined || (kind !== undefined && record.kind !== kind)) continue;
      records.push(record);
      if (records.length > lines) records.shift();
    }
    return records;
  });
}

export function recordLines(records: readonly AuditRecord[]): string[] {
  return records.map(({ time, kind, fields }) => {
    const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${valueText(value)}`);
    return plain(`${time} ${kind}${rest.join("")}`);
  });
}

function valueText(value: AuditRecord["fields"][string]): string {
  if (typeof value === "object") return value.join(",");
  return typeof value === "string" && /[\s"=]/.test(value) ? JSON.stringify(value) : String(value);
}

function recordOf(bytes: Uint8Array): AuditRecord | undefined {
  try {
    return parseAuditRecord(bytes);
  } catch (error) {
    // `shoal audit verify` is for telling about it.
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}
