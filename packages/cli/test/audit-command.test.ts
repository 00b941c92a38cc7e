import { mkdir, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AUDIT_ROOT, auditHash, formatAuditHead, formatAuditRecord } from "@shoal/api";
import { startScriptedDaemon } from "@shoal/api/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { verifyAudit } from "../src/audit-command.ts";
import { shoal, status, temporaryFolder } from "./fixtures.ts";

const RECORDS = 40;
let stack: AsyncDisposableStack;
let folder = "";
let lines: string[] = [];

/** A log of three files, as rotation leaves it. */
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  folder = join(stack.use(await temporaryFolder()).path, "audit");
  await mkdir(folder);
  lines = [];
  let previous = AUDIT_ROOT;
  for (let seq = 1; seq <= RECORDS; seq += 1) {
    const deny = { at: "mirror", reason: "host", who: "127.0.0.1", what: `evil ${seq}\u001B[2J` };
    const line = formatAuditRecord({
      seq,
      time: `2026-01-02T03:04:${String(seq).padStart(2, "0")}.000Z`,
      kind: seq % 10 === 0 ? "deny" : "member-up",
      fields: seq % 10 === 0 ? deny : { peer: `peer ${seq}` },
      previous,
    });
    previous = auditHash(line);
    lines.push(line);
  }
  await save(lines);
  await writeFile(join(folder, "head"), formatAuditHead({ seq: RECORDS, hash: previous }));
});
afterEach(async () => await stack.disposeAsync());

async function save(all: readonly string[]): Promise<void> {
  const text = (part: readonly string[]): string => part.map((line) => `${line}\n`).join("");
  await writeFile(join(folder, "audit.jsonl.2"), text(all.slice(0, 15)));
  await writeFile(join(folder, "audit.jsonl.1"), text(all.slice(15, 30)));
  await writeFile(join(folder, "audit.jsonl"), text(all.slice(30)));
}

describe("shoal audit verify", () => {
  test("says of an untouched log that it is, of the folder, of files in any order, of the daemon's", async () => {
    const socketPath = join(folder, "../s.sock");
    const audit = { state: "on" as const, folder, seq: RECORDS, dropped: 0 };
    stack.use(await startScriptedDaemon({ socketPath, status: { ...status, audit } }));
    const files = ["audit.jsonl", "audit.jsonl.2", "audit.jsonl.1"];
    for (const words of [
      [folder],
      files.map((name) => join(folder, name)),
      ["--socket", socketPath],
    ]) {
      const { code, out } = await shoal(["audit", "verify", ...words]);
      expect(out).toMatch(/^✓ intact: records 1 to 40, from 2026-01-02T03:04:01/m);
      expect(code).toBe(0);
    }
  });

  test("exits with 1 and names the place when a record was changed", async () => {
    await save(lines.with(20, lines[20]!.replace("peer 21", "peer 99")));
    const { code, out } = await shoal(["audit", "verify", folder]);
    expect(code).toBe(1);
    expect(out).toContain("audit.jsonl.1:6: changed: record 21 was changed");
    expect(out).toContain("✗ altered");
    const json = await shoal(["audit", "verify", folder, "--json"]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({
      intact: false,
      findings: [{ problem: "changed", line: 6 }],
    });
  });

  test.each([
    ["a file in the middle is gone", async () => await rm(join(folder, "audit.jsonl.1")), false],
    ["the newest file is gone", async () => await rm(join(folder, "audit.jsonl")), false],
    ["the end is cut off", async () => await truncate(join(folder, "audit.jsonl"), 300), false],
    ["the oldest file is gone", async () => await rm(join(folder, "audit.jsonl.2")), true],
    ["files have changed places", async () => await swap("audit.jsonl.1", "audit.jsonl.2"), true],
    ["the last line is torn", async () => await tear(), true],
  ])("when %s", async (_what, alter, intact) => {
    await alter();
    expect(await verifyAudit([folder])).toMatchObject({ intact });
  });

  async function swap(one: string, other: string): Promise<void> {
    await rename(join(folder, one), join(folder, "x"));
    await rename(join(folder, other), join(folder, one));
    await rename(join(folder, "x"), join(folder, other));
  }

  async function tear(): Promise<void> {
    await save([...lines, "tail"]);
    const text = lines.slice(30).map((line) => `${line}\n`);
    await writeFile(join(folder, "audit.jsonl"), `${text.join("")}{"version":1,"se`);
  }
});

test("shoal audit show prints the newest, none of which steers the terminal", async () => {
  const { code, out } = await shoal(["audit", "show", "--lines", "2", folder]);
  expect(code).toBe(0);
  expect(out.split("\n").slice(0, -1)).toEqual([
    '2026-01-02T03:04:39.000Z member-up peer="peer 39"',
    '2026-01-02T03:04:40.000Z deny at=mirror reason=host who=127.0.0.1 what="evil 40\\u001b[2J"',
  ]);
  const denied = await shoal(["audit", "show", "--kind", "deny", "--json", folder]);
  const { records } = JSON.parse(denied.out) as { records: { seq: number }[] };
  expect(records.map(({ seq }) => seq)).toEqual([10, 20, 30, 40]);
});

test("shoal audit says what is wrong with its use, and where the log is not", async () => {
  for (const words of [["look"], ["show", "--lines", "0"]])
    expect((await shoal(["audit", ...words, folder])).code).toBe(2);
  const gone = await shoal(["audit", "verify", join(folder, "none")]);
  expect(gone).toMatchObject({ code: 1, err: expect.stringContaining("ERR_AUDIT_FILE") });
  const empty = await shoal(["audit", "verify", join(folder, "..")]);
  expect(empty).toMatchObject({ code: 1, err: expect.stringContaining("no audit log in") });
  const unreachable = await shoal(["audit", "verify", "--socket", join(folder, "none.sock")]);
  expect(unreachable).toMatchObject({ code: 3, err: expect.stringContaining("name the log") });
});
