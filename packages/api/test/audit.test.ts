import { hasCode } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  AUDIT_ROOT,
  type AuditHead,
  auditFilesIn,
  auditHash,
  type AuditRecord,
  type AuditVerdict,
  createAuditVerifier,
  formatAuditHead,
  formatAuditRecord,
  parseAuditHead,
  parseAuditRecord,
} from "../src/index.ts";

const TIME = "2026-01-02T03:04:05.678Z";
const name = fc
  .string({ minLength: 1 })
  .filter((text) => !["version", "seq", "time", "kind", "previous"].includes(text));
const value = fc.oneof(
  fc.string({ maxLength: 100 }),
  fc.integer(),
  fc.boolean(),
  fc.array(fc.string({ maxLength: 20 }), { maxLength: 10 }),
);
const record: fc.Arbitrary<AuditRecord> = fc.record({
  seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  time: fc
    .date({ min: new Date(0), max: new Date("2999-01-01"), noInvalidDate: true })
    .map((date) => date.toISOString()),
  kind: fc.stringMatching(/^[a-z][a-z-]{0,31}$/),
  fields: fc.dictionary(name, value, { maxKeys: 5, noNullPrototype: true }),
  previous: fc.stringMatching(/^[0-9a-f]{64}$/),
});

describe("an audit record", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(record, (written) => {
        expect(parseAuditRecord(Buffer.from(formatAuditRecord(written)))).toEqual(written);
      }),
    );
  });

  it("is nothing else: any other bytes are refused with a code", () => {
    const refused = (bytes: Uint8Array): void => {
      try {
        const { previous, ...rest } = parseAuditRecord(bytes);
        expect(formatAuditRecord({ previous, ...rest })).toBe(Buffer.from(bytes).toString());
      } catch (error) {
        if (!hasCode(error, "ERR_AUDIT_RECORD")) throw error;
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), refused));
    fc.assert(fc.property(fc.json(), (text) => refused(Buffer.from(text))));
    // One byte of a good one is another: it is another record, or none, but never the same.
    fc.assert(
      fc.property(record, fc.nat(), fc.nat({ max: 255 }), (written, at, byte) => {
        const bytes = Buffer.from(formatAuditRecord(written));
        const hash = auditHash(bytes);
        const index = at % bytes.length;
        fc.pre(bytes[index] !== byte);
        bytes[index] = byte;
        refused(bytes);
        expect(auditHash(bytes)).not.toBe(hash);
      }),
    );
  });

  const good = { seq: 1, time: TIME, kind: "stop", fields: {}, previous: AUDIT_ROOT };
  it.each([
    ["spaces", formatAuditRecord(good).replace(",", ", ")],
    ["a name twice", formatAuditRecord(good).replace('"seq":1', '"seq":1,"seq":1')],
    ["another version", formatAuditRecord(good).replace('"version":1', '"version":2')],
    ["a time without a zone", formatAuditRecord(good).replace("678Z", "678")],
    ["seq 0", formatAuditRecord({ ...good, seq: 0 })],
    ["an object inside", formatAuditRecord({ ...good, fields: { a: {} as never } })],
    ["more than 16 KiB", formatAuditRecord({ ...good, fields: { a: "x".repeat(17_000) } })],
  ])("has no %s", (_what, line) => {
    expect(() => parseAuditRecord(Buffer.from(line))).toThrow(/is no audit record: /);
  });
});

/** Lines of a log with `count` records. */
function chain(count: number): string[] {
  const lines: string[] = [];
  for (let seq = 1; seq <= count; seq += 1) {
    const previous = seq === 1 ? AUDIT_ROOT : auditHash(lines.at(-1)!);
    const fields = { peer: `peer ${seq}` };
    lines.push(formatAuditRecord({ seq, time: TIME, kind: "member-up", fields, previous }));
  }
  return lines;
}

function headOf(lines: readonly string[]): AuditHead {
  return { seq: lines.length, hash: auditHash(lines.at(-1)!) };
}

function verify(lines: readonly string[], head?: AuditHead, rest = ""): AuditVerdict {
  const verifier = createAuditVerifier(head);
  for (const [index, line] of lines.entries())
    verifier.line(Buffer.from(line), "a.jsonl", index + 1);
  verifier.rest(Buffer.from(rest), "a.jsonl", lines.length + 1, true);
  return verifier.end();
}

describe("the chain", () => {
  const lines = chain(20);
  const head = headOf(lines);

  it("is intact as it was written, with any head on it, and from where rotation has cut it", () => {
    expect(verify(lines, head)).toMatchObject({ intact: true, records: 20, notes: [] });
    expect(verify(lines, headOf(lines.slice(0, 7)))).toMatchObject({ intact: true });
    const later = verify(lines.slice(5), head);
    expect(later).toMatchObject({ intact: true, first: { seq: 6 }, last: { seq: 20 } });
    expect(later.notes).toEqual([expect.stringContaining("begins with record 6")]);
  });

  it("tells a torn end from an altered one", () => {
    const torn = verify(lines.slice(0, 19), headOf(lines.slice(0, 19)), lines[19]!.slice(0, 50));
    expect(torn).toMatchObject({ intact: true, last: { seq: 19 } });
    expect(torn.notes).toEqual([expect.stringContaining("torn")]);
    // The head knows that the record was whole once.
    const cut = verify(lines.slice(0, 19), head, lines[19]!.slice(0, 50));
    expect(cut.findings).toMatchObject([{ problem: "missing-end" }]);
  });

  it("shows every edit, deletion, insertion, swap and cut", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("edit", "delete", "insert", "swap", "cut"),
        fc.nat({ max: 19 }),
        fc.nat({ max: 19 }),
        (what, at, other) => {
          const altered = [...lines];
          if (what === "edit") altered[at] = altered[at]!.replace("peer ", "Peer ");
          if (what === "delete") altered.splice(at, 1);
          if (what === "insert") altered.splice(at, 0, altered[other]!);
          if (what === "swap") [altered[at], altered[other]] = [altered[other]!, altered[at]!];
          if (what === "cut") altered.length = at;
          fc.pre(!(what === "swap" && at === other));
          const { intact, notes } = verify(altered, head);
          // Without its first record it is a log of which older files are gone.
          if (what === "delete" && at === 0) expect(notes).toHaveLength(1);
          else expect([what, at, other, intact]).toEqual([what, at, other, false]);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("names the record that was changed", () => {
    const altered = lines.with(4, lines[4]!.replace("peer 5", "peer X"));
    expect(verify(altered, head).findings).toMatchObject([
      {
        problem: "changed",
        file: "a.jsonl",
        line: 5,
        message: expect.stringContaining("record 5"),
      },
    ]);
    const gone = lines.toSpliced(4, 2);
    expect(verify(gone, head).findings).toMatchObject([
      { problem: "missing", line: 5, message: expect.stringContaining("records 5 to 6") },
    ]);
  });

  it("has a head that is always as long, and nothing else is one", () => {
    fc.assert(
      fc.property(record, ({ seq, previous: hash }) => {
        const text = formatAuditHead({ seq, hash });
        expect(text).toHaveLength(128);
        expect(parseAuditHead(text)).toEqual({ seq, hash });
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => parseAuditHead(text) === undefined));
  });

  it("has files whose names are in the order of their numbers", () => {
    const names = ["audit.jsonl.2", "head", "audit.jsonl", "audit.jsonl.10", "audit.jsonl.01"];
    expect(auditFilesIn(names)).toEqual(["audit.jsonl.10", "audit.jsonl.2", "audit.jsonl"]);
  });
});
