import { join } from "node:path";
import {
  type AuditRecord,
  type AuditVerdict,
  CodedError,
  createAuditVerifier,
  hasCode,
  parseAuditRecord,
} from "@shoal/api";
import { linesOf, readAudit } from "./audit-files.ts";
import { type CommandTools, type CommonOptions, usageError } from "./command-tools.ts";
import { EXIT } from "./exit-codes.ts";
import { wrapBeside } from "./format.ts";
import { plain, printable } from "./text.ts";

/** Adds the command that reads the audit log, from its files. */
export function addAuditCommand(tools: CommandTools): void {
  const { command, clientOf, print, terminal, exit, signal } = tools;

  /** The log that is meant: the daemon's own where none is named. */
  async function pathsOf(paths: readonly string[], options: CommonOptions): Promise<string[]> {
    if (paths.length > 0) return [...paths];
    await using client = clientOf(options);
    try {
      const { audit, stateFolder } = await client.status({ signal });
      return [audit?.folder ?? join(stateFolder, "audit")];
    } catch (error) {
      if (!hasCode(error, "ERR_DAEMON_UNREACHABLE")) throw error;
      const hint = "without a daemon, name the log: shoal audit verify /var/lib/shoal/audit";
      throw new CodedError(error.code, `${error.message}; ${hint}`, { cause: error });
    }
  }

  command("audit", "Verify the audit log, or show its newest records", [
    "sudo shoal audit verify",
    "sudo shoal audit show --kind deny --lines 50",
    "shoal audit verify backup/audit.jsonl.2 backup/audit.jsonl.1 --json",
  ])
    .argument("<verb>", "verify: is each record as it was written? show: print records")
    .argument("[path...]", "the log's files, or the folder of them (default: the daemon's)")
    .option("--lines <count>", "show: how many of the newest", "20")
    .option("--kind <kind>", "show: only those of one kind: pull, serve, deny, …")
    .addHelpText(
      "after",
      "\nverify exits with 0 when every record follows from the one before, and with 1 when one was changed,\nis missing or is out of its place. A line that a crash has torn is noted, and is no fault. docs/audit.md\ntells what is recorded, and what the chain can't show.",
    )
    .action(
      async (
        verb: string,
        paths: string[],
        options: CommonOptions & { lines: string; kind?: string },
      ) => {
        if (verb === "verify") {
          const verdict = await verifyAudit(await pathsOf(paths, options));
          print(verdict, options, () => verdictLines(verdict, terminal.columns));
          exit(exitCodeOfVerdict(verdict));
          return;
        }
        const lines = Number(options.lines);
        if (verb !== "show" || !Number.isSafeInteger(lines) || lines < 1)
          throw usageError(
            "write `shoal audit verify [path...]`, or `shoal audit show --lines COUNT [path...]`",
          );
        const named = await pathsOf(paths, options);
        const records = await newestRecords(named, { lines, kind: options.kind });
        print({ records }, options, () => recordLines(records));
        exit(EXIT.ok);
      },
    );
}

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

function exitCodeOfVerdict({ intact }: AuditVerdict): number {
  return intact ? EXIT.ok : EXIT.failed;
}

function verdictLines(verdict: AuditVerdict, columns: number): string[] {
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
async function newestRecords(
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

function recordLines(records: readonly AuditRecord[]): string[] {
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
