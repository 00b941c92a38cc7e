import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type AuditRecord,
  createApiClient,
  createAuditVerifier,
  isFinished,
  parseAuditHead,
  type Status,
} from "@shoal/api";
import { createSiteToken } from "@shoal/network";
import { createScriptedRegistry } from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import { defaultConfiguration } from "../src/configuration.ts";
import { noteConfiguration } from "../src/audit/configuration-changes.ts";
import { createTestDaemon, type TestDaemon } from "./support.ts";

/** The records of a daemon's log, once there are as many of a kind as the list names it. */
async function recordsOf(daemon: TestDaemon, ...kinds: string[]): Promise<AuditRecord[]> {
  const folder = join(daemon.configuration.state, "audit");
  for (let tries = 0; ; tries += 1) {
    const text = await readFile(join(folder, "audit.jsonl"), "utf8").catch(() => "");
    const head = parseAuditHead(await readFile(join(folder, "head"), "latin1").catch(() => ""));
    const verifier = createAuditVerifier(head);
    const records = text
      .split("\n")
      .slice(0, -1)
      .map((line, index) => verifier.line(Buffer.from(line), "audit.jsonl", index + 1)!);
    expect(verifier.end().findings).toEqual([]);
    const left = records.map(({ kind }) => kind);
    const missing = kinds.filter((kind) => {
      const at = left.indexOf(kind);
      if (at >= 0) left.splice(at, 1);
      return at < 0;
    });
    if (missing.length === 0) return records;
    if (tries === 200) throw new Error(`no record of ${missing.join(", ")} in:\n${text}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
}

function facts(records: readonly AuditRecord[], kind: string): unknown[] {
  return records.filter((record) => record.kind === kind).map(({ fields }) => fields);
}

async function ask(url: string, headers: Record<string, string>, method = "GET"): Promise<number> {
  return await new Promise((resolve, reject) => {
    httpRequest(url, { method, headers: { connection: "close", ...headers } }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on("error", reject)
      .end();
  });
}

async function statusOf(daemon: TestDaemon): Promise<Status> {
  await using client = createApiClient({ socketPath: daemon.socket });
  return await client.status();
}

async function pull(daemon: TestDaemon, reference: string): Promise<string> {
  await using client = createApiClient({ socketPath: daemon.socket });
  const { id } = await client.startPull({ reference });
  for (;;) {
    const found = await client.pull(id);
    if (isFinished(found)) return found.state;
  }
}

describe("the daemon's audit log", () => {
  it("has its start, its configuration, and who has pulled what", async () => {
    await using daemon = await createTestDaemon();
    const { registry } = daemon.registry;
    const image = daemon.registry.addImage("team/app", "v1", [100_000]);
    const agent = { "user-agent": "containerd/2.0" };
    const layer = image.layers[0]!;
    for (let times = 0; times < 3; times += 1) {
      await ask(daemon.url("team/app/manifests/v1"), agent, "HEAD");
      await ask(daemon.url(`team/app/blobs/${layer.digest}`), agent);
    }
    await ask(daemon.url("team/app/manifests/none"), agent);
    expect(await pull(daemon, `${registry}/team/app:v2`)).toBe("failed");
    const records = await recordsOf(daemon, "start", "pull", "pull", "pull", "pull");
    expect(records[0]).toMatchObject({ seq: 1, kind: "configuration" });
    expect(facts(records, "start")).toEqual([
      { program: expect.any(String), peer: (await statusOf(daemon)).peerId },
    ]);
    const mirrored = { via: "mirror", client: "containerd" };
    expect(facts(records, "pull")).toEqual(
      expect.arrayContaining([
        {
          ...mirrored,
          object: "manifest",
          reference: `${registry}/team/app:v1`,
          digest: image.digest,
          outcome: "done",
          bytes: 0,
        },
        {
          ...mirrored,
          object: "blob",
          reference: `${registry}/team/app`,
          digest: layer.digest,
          outcome: "done",
          bytes: 100_000,
        },
        {
          ...mirrored,
          object: "manifest",
          reference: `${registry}/team/app:none`,
          outcome: "failed",
          code: "ERR_UPSTREAM_NOT_FOUND",
          bytes: 0,
        },
        {
          via: "socket",
          object: "image",
          reference: `${registry}/team/app:v2`,
          outcome: "failed",
          code: "ERR_UPSTREAM_NOT_FOUND",
          bytes: 0,
        },
      ]),
    );
    // The other two times are one record, later.
    expect(facts(records, "pull")).toHaveLength(4);
    expect((await statusOf(daemon)).audit).toMatchObject({ state: "on", dropped: 0 });
  });

  it("has what was refused, and a flood of it as few records", async () => {
    await using daemon = await createTestDaemon();
    for (let i = 0; i < 50; i += 1)
      expect(await ask(`${daemon.mirror}/v2/`, { host: "evil.example" })).toBe(403);
    expect(await ask(`${daemon.metrics}/metrics`, { host: "evil.example" })).toBe(403);
    expect(await ask(`${daemon.mirror}/v2/app/blobs/uploads/`, {}, "POST")).toBe(405);
    const inside = "169.254.169.254";
    expect(await ask(`${daemon.mirror}/v2/app/manifests/v1?ns=${inside}`, {})).toBe(403);
    const records = await recordsOf(daemon, "deny", "deny", "deny", "deny");
    const who = "127.0.0.1";
    expect(facts(records, "deny")).toEqual([
      { at: "mirror", reason: "host", who, what: "evil.example" },
      { at: "metrics", reason: "host", who, what: "evil.example" },
      { at: "mirror", reason: "push", who },
      { at: "upstream", reason: "address", who: inside, what: `${inside}/app` },
    ]);
  });

  it("has bytes that are not what their digest says", async () => {
    await using daemon = await createTestDaemon();
    const image = daemon.registry.addImage("team/app", "v1", [100_000]);
    const { digest } = image.layers[0]!;
    daemon.registry.script(({ path }) =>
      path.includes(`/blobs/${digest}`) ? { status: 200, body: Buffer.alloc(100_000) } : undefined,
    );
    await ask(daemon.url("team/app/manifests/v1"), {});
    await ask(daemon.url(`team/app/blobs/${digest}`), {}).catch(() => undefined);
    const records = await recordsOf(daemon, "verification-failure");
    expect(facts(records, "verification-failure")).toContainEqual({
      of: "upstream",
      who: daemon.registry.registry,
      digest,
    });
  });

  it("has members, what they were given, and what they may not have", async () => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-audit-site-"));
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, createSiteToken());
    await using registry = await createScriptedRegistry();
    const open = registry.addImage("open/app", "v1", [2_000_000]);
    registry.addImage("closed/app", "v1", [1000]);
    const share = [
      { registry: registry.registry, repository: "closed/*", share: "never" as const },
    ];
    const parts = { registry };
    await using one = await createTestDaemon({ site: { tokenFile }, share }, parts);
    await pull(one, `${registry.registry}/open/app:v1`);
    const { peerId, swarm } = await statusOf(one);
    await using two = await createTestDaemon(
      {
        site: { tokenFile },
        swarm: { listen: ["127.0.0.1"], port: 0, bulkPort: 0, mdns: false, peers: [...swarm] },
      },
      parts,
    );
    await recordsOf(two, "member-up");
    expect(await pull(two, `${registry.registry}/open/app:v1`)).toBe("done");
    expect(await pull(two, `${registry.registry}/closed/app:v1`)).toBe("done");
    const other = (await statusOf(two)).peerId;
    expect(facts(await recordsOf(two), "member-up")).toEqual([{ peer: peerId }]);
    const denied = facts(await recordsOf(one, "deny"), "deny");
    expect(denied).toContainEqual({
      at: "swarm",
      reason: "not-shared",
      who: other,
      what: `${registry.registry}/closed/app`,
    });
    // What is gathered is written at the end.
    await two.stop();
    await one.stop();
    const served = facts(await recordsOf(one, "serve", "stop", "member-down"), "serve") as {
      peer: string;
      digest: string;
      bytes: number;
      count: number;
    }[];
    const layer = open.layers[0]!;
    expect(served.find(({ digest }) => digest === layer.digest)).toMatchObject({
      peer: other,
      bytes: 2_000_000,
    });
    await rm(folder, { recursive: true });
  });

  it("keeps nothing when it is off", async () => {
    await using daemon = await createTestDaemon({
      audit: { enabled: false, maxBytes: 4096, files: 1 },
    });
    expect((await statusOf(daemon)).audit).toEqual({ state: "off" });
    await expect(readFile(join(daemon.configuration.state, "audit/audit.jsonl"))).rejects.toThrow();
  });
});

describe("changes of the configuration", () => {
  it("are told by name, and never by value", async () => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-audit-conf-"));
    const first = defaultConfiguration({ env: { HOME: folder }, uid: 0 });
    const registries = { "a.example": { proxy: "http://user:hunter2@proxy" }, "b.example": {} };
    const second = { ...first, registries, zone: "rack1" };
    const before = await noteConfiguration(folder, first);
    expect(before.changed).toEqual([]);
    expect(await noteConfiguration(folder, first)).toEqual(before);
    const after = await noteConfiguration(folder, second);
    expect(after.hash).not.toBe(before.hash);
    expect(after.changed).toEqual([
      "registries",
      "registries.a.example.proxy",
      "registries.b.example",
      "zone",
    ]);
    const kept = await readFile(join(folder, "configuration.json"), "utf8");
    for (const value of ["hunter2", "rack1"]) expect(kept).not.toContain(value);
    // One that was spoiled is none.
    await writeFile(join(folder, "configuration.json"), "{");
    expect((await noteConfiguration(folder, second)).changed).toEqual([]);
    await rm(folder, { recursive: true });
  });
});
