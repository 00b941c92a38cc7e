import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Peer, Status } from "@shoal/api";
import { startScriptedDaemon } from "@shoal/api/testing";
import { describe, expect, it, test } from "vitest";
import type { Check } from "../src/doctor/check.ts";
import { checkEngines } from "../src/doctor/engine-checks.ts";
import {
  checkClock,
  checkCredentials,
  checkDisk,
  checkMirror,
} from "../src/doctor/machine-checks.ts";
import { checkNetwork, parseAddress, tcpProbe } from "../src/doctor/network-checks.ts";
import { MIB, shoal, STARTED, status, temporaryFolder } from "./fixtures.ts";

const NOW_MS = Date.parse(STARTED) + 3_600_000;
const MIRROR = "127.0.0.1:5055";
const { signal } = new AbortController();

/** A server that answers everything alike. */
async function answering(statusCode: number, headers: Record<string, string> = {}) {
  const server = createServer((_request, response) => {
    if ("date" in headers) response.sendDate = false;
    response.writeHead(statusCode, headers).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const states = (checks: readonly Check[]) =>
  Object.fromEntries(checks.map(({ name, state }) => [name, state]));

describe("engines", () => {
  const DOCKER = { "/etc/docker/daemon.json": `{"registry-mirrors": ["http://${MIRROR}"]}` };

  async function engines(
    programs: readonly string[],
    texts: Readonly<Record<string, string>>,
    clients: Status["clients"] = [],
  ): Promise<readonly Check[]> {
    const files = {
      read: async (path: string) => texts[path],
      list: async (folder: string) => (folder === "/usr/bin" ? programs : []),
    };
    const mirrors = ["[::1]:5055", MIRROR];
    return await checkEngines({ files, mirrors, status: { ...status, clients }, nowMs: NOW_MS });
  }

  it("are skipped where there are none", async () => {
    expect(states(await engines(["sh"], DOCKER))).toEqual({ engines: "skipped" });
  });

  it("fail where none is set up, each with its command", async () => {
    const checks = await engines(["dockerd", "podman"], {});
    expect(states(checks)).toEqual({ docker: "failed", podman: "failed" });
    expect(checks.map(({ remedy }) => remedy)).toEqual([
      "sudo shoal setup docker",
      "sudo shoal setup podman",
    ]);
  });

  it("are warned of beside one that is set up and was seen", async () => {
    const seen = [{ engine: "docker", lastSeenAt: STARTED }];
    const checks = await engines(["dockerd", "skopeo"], DOCKER, seen);
    expect(states(checks)).toEqual({ docker: "ok", podman: "warning" });
    expect(checks[0]!.found).toContain("1 h 0 min ago");
  });

  it("are warned of where they are set up and have not asked", async () => {
    const [docker] = await engines(["dockerd"], DOCKER);
    expect(docker).toMatchObject({ state: "warning" });
    expect(docker!.remedy).toContain("systemctl reload docker");
  });

  it("are known by the engine inside", async () => {
    const text = `mirrors:\n  "*":\n    endpoint: ["http://${MIRROR}"]\n`;
    const seen = [{ engine: "containerd", lastSeenAt: STARTED }];
    const checks = await engines(["k3s"], { "/etc/rancher/k3s/registries.yaml": text }, seen);
    expect(states(checks)).toEqual({ k3s: "ok" });
  });

  it.each(["containerd-library", "buildkit"])(
    "are known by the BuildKit inside of Docker, which says %s",
    async (engine) => {
      const seen = [
        { engine, lastSeenAt: STARTED },
        { engine: "other", lastSeenAt: new Date(NOW_MS).toISOString() },
      ];
      const [docker] = await engines(["dockerd"], DOCKER, seen);
      expect(docker).toMatchObject({ state: "ok" });
      expect(docker!.found).toContain("1 h 0 min ago");
    },
  );

  it("tell of files that can't be understood", async () => {
    const [docker] = await engines(["dockerd"], { "/etc/docker/daemon.json": "{" });
    expect(docker).toMatchObject({ state: "failed" });
    expect(docker!.remedy).toContain("ERR_SETUP_FILE");
  });
});

describe("the network", () => {
  const site = { ...status, site: "53e45ca6".repeat(4) };
  const peer = (change: Partial<Peer> = {}): Peer => ({
    id: "12D3KooWOther",
    state: "up",
    addresses: ["10.0.0.2:5056"],
    source: "mdns",
    strikes: 0,
    ...change,
  });

  async function network(
    change: Partial<Status>,
    peers: readonly Peer[],
    closed: readonly string[] = [],
  ): Promise<Record<string, string>> {
    const probe = async (host: string, port: number) => !closed.includes(`${host}:${port}`);
    const list = { self: "12D3KooWSelf", peers: [...peers] };
    const checks = await checkNetwork({ ...site, ...change }, list, probe);
    for (const check of checks)
      if (check.state === "warning" || check.state === "failed") expect(check.remedy).toBeTruthy();
    return states(checks);
  }

  it.each<[string, Partial<Status>, readonly Peer[], readonly string[], Record<string, string>]>([
    ["all well", {}, [peer()], [], { site: "ok", multicast: "ok", ports: "ok", members: "ok" }],
    ["alone", {}, [], [], { site: "warning", multicast: "warning", ports: "ok" }],
    ["a member down", {}, [peer({ state: "down" })], [], { site: "warning", multicast: "warning" }],
    ["found otherwise", {}, [peer({ source: "static" })], [], { multicast: "warning" }],
    ["mDNS failing", { mdns: "failing" }, [peer()], [], { multicast: "failed" }],
    ["mDNS off", { mdns: "off" }, [peer({ source: "static" })], [], { multicast: "ok" }],
    ["mDNS off, alone", { mdns: "off" }, [], [], { multicast: "warning" }],
    ["no port", { swarm: [] }, [peer()], [], { ports: "failed" }],
    ["own port closed", {}, [peer()], ["10.0.0.1:5056"], { ports: "failed" }],
    ["own bulk port closed", {}, [peer()], ["10.0.0.1:5058"], { ports: "warning" }],
    ["a member's port closed", {}, [peer()], ["10.0.0.2:5056"], { members: "warning" }],
    ["a member's bulk port closed", {}, [peer()], ["10.0.0.2:5058"], { members: "warning" }],
  ])("%s", async (_what, change, peers, closed, expected) => {
    expect(await network(change, peers, closed)).toMatchObject(expected);
  });

  it("of a machine without a site", async () => {
    const checks = await checkNetwork(status, { self: "a", peers: [] }, async () => true);
    expect(states(checks)).toEqual({ site: "warning", multicast: "skipped", ports: "skipped" });
  });

  it.each([
    ["/ip4/10.0.0.1/tcp/5056", { host: "10.0.0.1", port: 5056 }],
    ["/ip6/fd00::1/tcp/5056/p2p/12D3", { host: "fd00::1", port: 5056 }],
    ["10.0.0.1:5056", { host: "10.0.0.1", port: 5056 }],
    ["[fd00::1]:5056", { host: "fd00::1", port: 5056 }],
    ["/unix/a", undefined],
    ["fd00::1", undefined],
  ])("address %s", (text, address) => {
    expect(parseAddress(text)).toEqual(address);
  });

  it("is probed by connecting", async () => {
    let port: number;
    {
      await using server = await answering(200);
      port = Number(server.host.split(":")[1]);
      expect(await tcpProbe("127.0.0.1", port)).toBe(true);
    }
    expect(await tcpProbe("127.0.0.1", port)).toBe(false);
  });
});

test.each([
  [200, "ok"],
  [404, "failed"],
] as const)("a mirror that answers %i is %s", async (code, state) => {
  await using server = await answering(code);
  expect(await checkMirror(server.host, signal)).toMatchObject({ state });
});

test("a mirror that does not answer has failed", async () => {
  expect(await checkMirror("127.0.0.1:2", signal)).toMatchObject({
    state: "failed",
    found: expect.stringContaining("ECONNREFUSED"),
  });
});

test.each([
  [1000, "ok"],
  [120_000, "warning"],
  [-120_000, "warning"],
  [-3_600_000, "failed"],
] as const)("a clock that is off by %i ms is %s", async (offsetMs, state) => {
  await using server = await answering(401, { date: new Date(NOW_MS).toUTCString() });
  const now = (): number => NOW_MS + offsetMs;
  expect(await checkClock(["127.0.0.1:2", server.host], now, signal)).toMatchObject({ state });
});

test("without a registry that answers the clock is skipped", async () => {
  expect(await checkClock(["127.0.0.1:2"], () => NOW_MS, signal)).toMatchObject({
    state: "skipped",
  });
});

test.each([
  [100 * MIB, "failed"],
  [1000 * MIB, "warning"],
  [5000 * MIB, "ok"],
] as const)("%i bytes of free disk are %s", (freeBytes, state) => {
  expect(checkDisk({ ...status, store: { ...status.store, freeBytes } }).state).toBe(state);
});

test.each([
  [undefined, "ok"],
  ['{"auths": {}}', "ok"],
  ["{", "failed"],
  ["7", "failed"],
])("credentials of %s are %s", async (text, state) => {
  await using folder = await temporaryFolder();
  const env = { HOME: folder.path, XDG_RUNTIME_DIR: folder.path };
  await mkdir(join(folder.path, ".docker"));
  if (text !== undefined) await writeFile(join(folder.path, ".docker/config.json"), text);
  const check = await checkCredentials(env, 4_000_000);
  expect(check.state).toBe(state);
  if (text !== undefined) expect(check.found).toContain(".docker/config.json");
});

describe("shoal doctor", () => {
  async function doctor(change: Partial<Status>, flags: readonly string[] = []) {
    await using folder = await temporaryFolder();
    await using registry = await answering(200);
    await using mirror = await answering(200);
    const socketPath = join(folder.path, "s.sock");
    await using _daemon = await startScriptedDaemon({
      socketPath,
      status: {
        ...status,
        mirror: [mirror.host],
        registries: [{ registry: registry.host }],
        store: { ...status.store, freeBytes: 5000 * MIB },
        ...change,
      },
      peers: { self: "12D3KooWSelf", peers: [] },
    });
    const env = { HOME: folder.path };
    return await shoal(["doctor", "--socket", socketPath, "--root", folder.path, ...flags], {
      env,
    });
  }

  it("exits 0 when nothing has failed", async () => {
    const { code, out } = await doctor({});
    expect(code).toBe(0);
    expect(out).toMatch(/^✓ daemon +0\.1\.0/m);
    expect(out).toMatch(/^! site +none: .*\n +→ shoal token/m);
    expect(out).toMatch(/^0 failed, 1 to look at$/m);
  });

  it("exits 1 when something has, and tells it as JSON", async () => {
    const { code, out } = await doctor({ mirror: ["127.0.0.1:2"] }, ["--json"]);
    expect(code).toBe(1);
    const { checks } = JSON.parse(out) as { checks: Check[] };
    expect(states(checks)).toMatchObject({ daemon: "ok", mirror: "failed", clock: "ok" });
  });

  it("looks at what it can without a daemon", async () => {
    await using folder = await temporaryFolder();
    const words = ["doctor", "--socket", join(folder.path, "none"), "--root", folder.path];
    const { code, out } = await shoal(words, { env: { HOME: folder.path } });
    expect(code).toBe(1);
    expect(out).toMatch(/^✗ daemon/m);
    expect(out).toMatch(/^✓ credentials/m);
  });
});
