import { CodedError } from "@shoal/runtime";
import { AUDIT_ROOT, auditHash, type AuditRecord, parseAuditRecord } from "./record.ts";

/** The newest record that is surely on the disk, kept beside the log: without it, a cut-off end would not show. */
export interface AuditHead {
  readonly seq: number;
  readonly hash: string;
}

const HEAD = /^\{"seq":([1-9][0-9]{0,15}),"hash":"([0-9a-f]{64})"\} *\n$/;

/** Always as long, so that it is written over in place. */
export function formatAuditHead({ seq, hash }: AuditHead): string {
  return `${JSON.stringify({ seq, hash }).padEnd(127)}\n`;
}

/** @returns `undefined` for what is no head */
export function parseAuditHead(text: string): AuditHead | undefined {
  const [, seq, hash] = HEAD.exec(text) ?? [];
  return seq === undefined || hash === undefined ? undefined : { seq: Number(seq), hash };
}

/** Something that nobody but a hand, or a broken disk, makes. */
export interface AuditFinding {
  /** `not-a-record`; `missing`: records in between are gone, or out of order; `changed`: the record before is
   * another than was written; `missing-end`: records that were there once are gone. */
  readonly problem: "not-a-record" | "missing" | "changed" | "missing-end";
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

export interface AuditVerdict {
  /** Whether every record follows from the one before, up to the end. */
  readonly intact: boolean;
  readonly records: number;
  readonly first?: { readonly seq: number; readonly time: string };
  readonly last?: { readonly seq: number; readonly time: string; readonly hash: string };
  readonly findings: readonly AuditFinding[];
  /** What is as it may be: older files that are gone, a line that a crash has cut. */
  readonly notes: readonly string[];
}

/** Goes through an audit log's lines from the oldest to the newest. */
export interface AuditVerifier {
  /** @returns the record, where it is one */
  line(bytes: Uint8Array, file: string, line: number): AuditRecord | undefined;
  /** Bytes after the last newline of a file. */
  rest(bytes: Uint8Array, file: string, line: number, isNewest: boolean): void;
  end(): AuditVerdict;
}

/** Findings beyond these are counted by nobody: the first tell. */
const MAX_FINDINGS = 100;

/** @param head what the log must reach, where that is known */
export function createAuditVerifier(head?: AuditHead): AuditVerifier {
  const findings: AuditFinding[] = [];
  const notes: string[] = [];
  let records = 0;
  let first: AuditRecord | undefined;
  let last: { record: AuditRecord; hash: string; file: string; line: number } | undefined;

  function find(finding: AuditFinding): void {
    if (findings.length < MAX_FINDINGS) findings.push(finding);
  }

  function follow(record: AuditRecord, file: string, line: number): void {
    const expected = (last?.record.seq ?? 0) + 1;
    const { from, to } = record.fields;
    if (record.kind === "lost" && record.seq === (last?.record.seq ?? record.seq - 1) + 1) {
      const message = `records ${String(from)} to ${String(to)} were gone when the daemon wrote it`;
      find({ problem: "missing", file, line, message });
      return;
    }
    if (last === undefined && record.seq > 1) {
      notes.push(
        `it begins with record ${record.seq}: older files are gone, as rotation leaves it`,
      );
      return;
    }
    if (record.seq !== expected)
      find({
        problem: "missing",
        file,
        line,
        message:
          record.seq > expected
            ? `records ${expected} to ${record.seq - 1} are missing before it`
            : `record ${record.seq} stands where ${expected} belongs`,
      });
    else if (record.previous !== (last?.hash ?? AUDIT_ROOT))
      find({
        problem: "changed",
        file: last?.file ?? file,
        line: last?.line ?? line,
        message:
          last === undefined
            ? "the first record does not begin a log"
            : `record ${record.seq - 1} was changed after record ${record.seq} was written, or both were`,
      });
  }

  function checkHead(record: AuditRecord, hash: string, file: string, line: number): void {
    if (head?.seq === record.seq && head.hash !== hash)
      find({
        problem: "changed",
        file,
        line,
        message: `record ${record.seq} is not the one that the head file names`,
      });
  }

  return {
    line(bytes, file, line) {
      let record: AuditRecord;
      try {
        record = parseAuditRecord(bytes);
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        find({ problem: "not-a-record", file, line, message: error.message });
        return undefined;
      }
      follow(record, file, line);
      const hash = auditHash(bytes);
      checkHead(record, hash, file, line);
      records += 1;
      first ??= record;
      last = { record, hash, file, line };
      if (record.kind === "torn")
        notes.push(
          `before record ${record.seq}, a line was torn by a crash and taken away: ${String(record.fields["bytes"])} bytes`,
        );
      if (record.kind === "dropped")
        notes.push(
          `before record ${record.seq}, ${String(record.fields["count"])} could not be written`,
        );
      return record;
    },
    rest(bytes, file, line, isNewest) {
      if (bytes.length === 0) return;
      if (isNewest)
        notes.push(
          `${file}:${line}: the last line is torn: the daemon was stopped in it, or is writing it now`,
        );
      else find({ problem: "not-a-record", file, line, message: "the file ends within a line" });
    },
    end() {
      if (head !== undefined && head.seq > (last?.record.seq ?? 0))
        find({
          problem: "missing-end",
          file: last?.file ?? "",
          line: last?.line ?? 0,
          message: `it ends with record ${last?.record.seq ?? 0}, and had ${head.seq}`,
        });
      return {
        intact: findings.length === 0,
        records,
        ...(first && { first: { seq: first.seq, time: first.time } }),
        ...(last && { last: { seq: last.record.seq, time: last.record.time, hash: last.hash } }),
        findings,
        notes,
      };
    },
  };
}
