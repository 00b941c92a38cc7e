import { execFileSync } from "node:child_process";
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type AuditRecord,
  type AuditVerdict,
  auditFilesIn,
  createAuditVerifier,
  parseAuditHead,
} from "@shoal/api";
import { type Logger, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type AuditLogInit, createAuditLog, type StartedAuditLog } from "../src/audit/audit-log.ts";

let root = "";
let folder = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "shoal-audit-"));
  folder = join(root, "audit");
});
afterEach(async () => await rm(root, { recursive: true, force: true }));

function open(change: Partial<AuditLogInit> = {}, logger: Logger = silentLogger): StartedAuditLog {
  return createAuditLog(
    { clock: systemClock, logger, metrics: noMetrics },
    { folder, maxBytes: 1024 * 1024, files: 4, ...change },
  );
}

function member(log: StartedAuditLog, peer: string): void {
  log.record({ kind: "member-up", peer });
}

interface Read {
  readonly verdict: AuditVerdict;
  readonly records: AuditRecord[];
}

async function read(): Promise<Read> {
  const names = auditFilesIn(await readdir(folder));
  const head = parseAuditHead(await readFile(join(folder, "head"), "latin1").catch(() => ""));
  const verifier = createAuditVerifier(head);
  const records: AuditRecord[] = [];
  for (const name of names) {
    const lines = (await readFile(join(folder, name), "latin1")).split("\n");
    const rest = lines.pop()!;
    for (const [index, line] of lines.entries()) {
      const record = verifier.line(Buffer.from(line, "latin1"), name, index + 1);
      if (record !== undefined) records.push(record);
    }
    verifier.rest(Buffer.from(rest), name, lines.length + 1, name === names.at(-1));
  }
  return { verdict: verifier.end(), records };
}

const current = (): string => join(folder, "audit.jsonl");
const peersOf = ({ records }: Read): unknown[] =>
  records.filter(({ kind }) => kind === "member-up").map(({ fields }) => fields["peer"]);

async function write(...peers: string[]): Promise<void> {
  await using log = open();
  for (const peer of peers) member(log, peer);
}

describe("the audit log", () => {
  it("is one chain over restarts, for its owner alone", async () => {
    await write("a", "b");
    await write("c");
    const found = await read();
    expect(found.verdict).toMatchObject({ intact: true, notes: [], last: { seq: 3 } });
    expect(peersOf(found)).toEqual(["a", "b", "c"]);
    expect((await stat(current())).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  it("is rotated by size, keeps so many files, and stays one chain", async () => {
    await using log = open({ maxBytes: 4096, files: 3 });
    for (let i = 0; i < 200; i += 1) {
      member(log, `peer ${i}`);
      if (i % 5 === 0) await log.flush();
    }
    await log.flush();
    expect(auditFilesIn(await readdir(folder))).toHaveLength(3);
    for (const name of auditFilesIn(await readdir(folder)))
      expect((await stat(join(folder, name))).size).toBeLessThanOrEqual(4096);
    const found = await read();
    expect(found.verdict).toMatchObject({ intact: true, last: { seq: 200 } });
    expect(found.verdict.notes).toEqual([expect.stringContaining("older files are gone")]);
    expect(peersOf(found).at(-1)).toBe("peer 199");
  });

  it("keeps fewer files when it is told so later, down to one", async () => {
    await using log = open({ maxBytes: 4096, files: 4 });
    for (let i = 0; i < 100; i += 1) {
      member(log, `peer ${i}`);
      await log.flush();
    }
    await log[Symbol.asyncDispose]();
    await using fewer = open({ maxBytes: 4096, files: 1 });
    for (let i = 0; i < 30; i += 1) {
      member(fewer, `peer ${i}`);
      await fewer.flush();
    }
    expect(auditFilesIn(await readdir(folder))).toEqual(["audit.jsonl"]);
    expect((await read()).verdict).toMatchObject({ intact: true, last: { seq: 130 } });
  });

  it.each([
    ["half a line", '{"version":1,"seq":3,"time":"2026'],
    ["zeros", "\0".repeat(5000)],
  ])("notes %s that a crash has left, and goes on", async (_what, torn) => {
    await write("a", "b");
    await appendFile(current(), torn);
    expect((await read()).verdict).toMatchObject({ intact: true, notes: [/torn/] });
    await write("c");
    const found = await read();
    expect(found.verdict).toMatchObject({ intact: true, last: { seq: 4 } });
    expect(found.records[2]).toMatchObject({ kind: "torn", fields: { bytes: torn.length } });
    expect(peersOf(found)).toEqual(["a", "b", "c"]);
  });

  it("begins in the middle of a rotation that a crash has cut off", async () => {
    await write("a");
    execFileSync("mv", [current(), `${current()}.1`]);
    await write("b");
    expect((await read()).verdict).toMatchObject({ intact: true, last: { seq: 2 }, notes: [] });
  });

  it.each([
    ["an edit", async () => await edit((text) => text.replace('"b"', '"B"')), "changed"],
    [
      "an edit of the last record",
      async () => await edit((text) => text.replace('"c"', '"C"')),
      "changed",
    ],
    ["a deletion", async () => await edit((text) => text.replace(/^.*"b".*\n/m, "")), "missing"],
    ["a cut", async () => await truncate(current(), 200), "missing"],
    [
      "a cut at a line",
      async () => await edit((text) => text.replace(/^.*"c".*\n/m, "")),
      "missing",
    ],
    ["the whole file's removal", async () => await rm(current()), "missing"],
    ["another line", async () => await edit((text) => text.replace('"b"', "b")), "not-a-record"],
  ])("shows %s for ever, also when the daemon goes on after it", async (_what, alter, problem) => {
    await write("a", "b", "c");
    await alter();
    expect((await read()).verdict.intact).toBe(false);
    await write("d");
    await write("e");
    const found = await read();
    expect(found.verdict.intact).toBe(false);
    expect(found.verdict.findings.map((finding) => finding.problem)).toContain(problem);
    expect(peersOf(found)).toEqual(expect.arrayContaining(["d", "e"]));
  });

  it.each([
    ["cut", async () => await truncate(current(), 0)],
    ["removed", async () => await rm(current())],
    ["replaced", async () => await edit((text) => text.replace('"a"', '"A"'))],
  ])("goes on when its file is %s under it, and shows it", async (_what, alter) => {
    await using log = open();
    member(log, "a");
    member(log, "b");
    await log.flush();
    await alter();
    member(log, "c");
    await log.flush();
    expect(log.state()).toMatchObject({ state: "on", dropped: 0 });
    const found = await read();
    expect(found.verdict.intact).toBe(false);
    expect(peersOf(found)).toContain("c");
  });

  async function edit(change: (text: string) => string): Promise<void> {
    const text = await readFile(current(), "utf8");
    expect(change(text)).not.toBe(text);
    // Another file at its place, as editors make it.
    await rm(current());
    await writeFile(current(), change(text));
  }
});

describe("an audit log whose disk fails", () => {
  it("says so once, waits, and goes on without a gap", async () => {
    await writeFile(folder, "a file where the folder should be");
    const told: string[] = [];
    const logger: Logger = {
      ...silentLogger,
      error: (_fields, message) => told.push(message),
      info: (_fields, message) => told.push(message),
    };
    await using log = open({}, logger);
    member(log, "a");
    await log.flush();
    member(log, "b");
    await log.flush();
    expect(log.state()).toMatchObject({ state: "failing", dropped: 0 });
    expect(told).toEqual([expect.stringContaining("can't be written")]);
    await rm(folder);
    await log.flush();
    expect(log.state()).toMatchObject({ state: "on", seq: 2 });
    expect(told).toHaveLength(2);
    const found = await read();
    expect(found.verdict).toMatchObject({ intact: true, notes: [] });
    expect(peersOf(found)).toEqual(["a", "b"]);
  });

  it("counts what it can't keep, and records the count", async () => {
    await writeFile(folder, "");
    await using log = open();
    for (let i = 0; i < 10_100; i += 1) member(log, `peer ${i}`);
    await log.flush();
    expect(log.state()).toMatchObject({ state: "failing", dropped: 100 });
    await rm(folder);
    await log.flush();
    const found = await read();
    expect(found.records.at(-1)).toMatchObject({ kind: "dropped", fields: { count: 100 } });
    expect(found.verdict).toMatchObject({ intact: true, last: { seq: 10_001 } });
    expect(found.verdict.notes).toEqual([expect.stringContaining("100 could not be written")]);
  });

  it("ends within seconds all the same", async () => {
    await writeFile(folder, "");
    const log = open();
    member(log, "a");
    const startMs = performance.now();
    await log[Symbol.asyncDispose]();
    expect(performance.now() - startMs).toBeLessThan(4000);
    member(log, "after the end");
  });

  it.skipIf(process.getuid?.() !== 0)("is full, and goes on when there is room again", async () => {
    await mkdir(folder);
    try {
      execFileSync("/bin/mount", ["-t", "tmpfs", "-o", "size=32k", "none", folder]);
    } catch {
      return;
    }
    try {
      await using log = open();
      await writeFile(join(folder, "ballast"), Buffer.alloc(16 * 1024));
      for (let i = 0; i < 100; i += 1) {
        member(log, `peer ${i}`);
        await log.flush();
      }
      expect(log.state()).toMatchObject({ state: "failing", dropped: 0 });
      expect((await read()).verdict.intact).toBe(true);
      await rm(join(folder, "ballast"));
      execFileSync("/bin/mount", ["-o", "remount,size=1m", folder]);
      await log.flush();
      expect(log.state()).toMatchObject({ state: "on", seq: 100 });
      expect((await read()).verdict).toMatchObject({ intact: true, notes: [] });
    } finally {
      execFileSync("/bin/umount", [folder]);
    }
  });
});
