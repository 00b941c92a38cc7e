import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Peer, Status } from "@shoal/api";
import { startScriptedDaemon } from "@shoal/api/testing";
import { describe, expect, it, test } from "vitest";
import type { Check } from "../src/doctor/check.ts";
import { checkEngines } from "../src/doctor/engine-checks.ts";
import { checkLogins } from "../src/doctor/login-checks.ts";
import {
  checkCertificate,
  checkClock,
  checkDisk,
  checkMirror,
} from "../src/doctor/machine-checks.ts";
import { checkNetwork, parseAddress } from "../src/doctor/network-checks.ts";
import { type Answer, portProbes } from "../src/doctor/port-probes.ts";
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

/** What a folder has, where all that there is are these paths. */
function namesIn(texts: Readonly<Record<string, string>>, folder: string): readonly string[] {
  const below = Object.keys(texts).filter((path) => path.startsWith(`${folder}/`));
  return [...new Set(below.map((path) => path.slice(folder.length + 1).split("/")[0]!))];
}

describe("engines", () => {
  const DOCKER = { "/etc/docker/daemon.json": `{"registry-mirrors": ["http://${MIRROR}"]}` };

  async function engines(
    programs: readonly string[],
    texts: Readonly<Record<string, string>>,
    clients: Status["clients"] = [],
  ): Promise<readonly Check[]> {
    const files = {
      read: async (path: string) => texts[path],
      list: async (folder: string) => (folder === "/usr/bin" ? programs : namesIn(texts, folder)),
    };
    const mirrors = ["[::1]:5055", MIRROR];
    const told = { ...status, clients };
    return await checkEngines({ files, mirrors, status: told, nowMs: NOW_MS, home: "/home/me" });
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

  const PODMAN = {
    "/etc/containers/registries.conf.d/shoal.conf": `[[registry]]\nprefix = "docker.io"\n[[registry.mirror]]\nlocation = "${MIRROR}/docker.io"\ninsecure = true\n`,
  };
  const OWN = "/home/me/.config/containers/registries.conf";
  const HOSTS = `[host."http://${MIRROR}"]\n`;

  it.each<[string, string, Readonly<Record<string, string>>, string, RegExp, string]>([
    [
      "a user's own registries.conf",
      "podman",
      { ...PODMAN, [OWN]: "" },
      "failed",
      /settings of your own/,
      "shoal setup podman --user",
    ],
    [
      "an entry for part of a registry",
      "podman",
      { ...PODMAN, "/etc/containers/registries.conf": '[[registry]]\nprefix = "docker.io/x"\n' },
      "warning",
      /past the mirror for docker\.io\/x/,
      `location = "${MIRROR}/…"`,
    ],
    [
      "an entry for another registry",
      "podman",
      {
        ...PODMAN,
        "/home/me/.config/containers/registries.conf.d/a.conf":
          '[[registry]]\nlocation = "a.lan:5000"\n',
      },
      "warning",
      /a\.lan:5000/,
      "--registry a.lan:5000",
    ],
    [
      "a folder of a registry's own",
      "containerd",
      {
        "/etc/containerd/config.toml":
          'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n',
        "/etc/containerd/certs.d/_default/hosts.toml": HOSTS,
        "/etc/containerd/certs.d/ghcr.io/ca.crt": "",
      },
      "warning",
      /certs\.d\/ghcr\.io/,
      "_default/hosts.toml",
    ],
    [
      "an entry of k3s",
      "k3s",
      {
        "/etc/rancher/k3s/registries.yaml": `mirrors:\n  "*":\n    endpoint: ["http://${MIRROR}"]\n  quay.io:\n`,
      },
      "warning",
      /past the mirror for quay\.io/,
      "endpoints",
    ],
  ])("are told of %s that goes past Shoal", async (_what, program, texts, state, found, remedy) => {
    const [check] = await engines([program], texts);
    expect(check).toMatchObject({ state, found: expect.stringMatching(found) as string });
    expect(check!.remedy).toContain(remedy);
  });

  it("are set up by a user's own files, too", async () => {
    const own = Object.values(PODMAN)[0]!;
    const drop = "/home/me/.config/containers/registries.conf.d/shoal.conf";
    const seen = [{ engine: "podman", lastSeenAt: STARTED }];
    expect(states(await engines(["podman"], { [OWN]: "", [drop]: own }, seen))).toEqual({
      podman: "ok",
    });
  });

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
    bulkPort: 5059,
    source: "mdns",
    strikes: 0,
    ...change,
  });

  async function network(
    change: Partial<Status>,
    peers: readonly Peer[],
    others: Readonly<Record<string, Answer>> = {},
  ): Promise<Record<string, string>> {
    const probe = async (host: string, port: number) => others[`${host}:${port}`] ?? "shoal";
    const list = { self: "12D3KooWSelf", peers: [...peers] };
    const checks = await checkNetwork({ ...site, ...change }, list, { swarm: probe, bulk: probe });
    for (const check of checks)
      if (check.state === "warning" || check.state === "failed") expect(check.remedy).toBeTruthy();
    return states(checks);
  }

  it.each<
    [
      string,
      Partial<Status>,
      readonly Peer[],
      Readonly<Record<string, Answer>>,
      Record<string, string>,
    ]
  >([
    ["all well", {}, [peer()], {}, { site: "ok", multicast: "ok", ports: "ok", members: "ok" }],
    ["alone", {}, [], {}, { site: "warning", multicast: "warning", ports: "ok" }],
    ["a member down", {}, [peer({ state: "down" })], {}, { site: "warning", multicast: "warning" }],
    ["found otherwise", {}, [peer({ source: "static" })], {}, { multicast: "warning" }],
    [
      "a cloned disk",
      { twin: { address: "10.0.0.9:5056", seenAt: "2026-01-02T09:12:43.998Z" } },
      [peer()],
      {},
      { identity: "failed", site: "ok" },
    ],
    ["mDNS failing", { mdns: "failing" }, [peer()], {}, { multicast: "failed" }],
    ["mDNS off", { mdns: "off" }, [peer({ source: "static" })], {}, { multicast: "ok" }],
    ["mDNS off, alone", { mdns: "off" }, [], {}, { multicast: "warning" }],
    ["no port", { swarm: [] }, [peer()], {}, { ports: "failed" }],
    ["own port closed", {}, [peer()], { "10.0.0.1:5056": "closed" }, { ports: "failed" }],
    ["another at it", {}, [peer()], { "10.0.0.1:5056": "other" }, { ports: "failed" }],
    ["no bulk port", { bulkPort: undefined }, [], {}, { ports: "warning" }],
    ["own bulk port closed", {}, [peer()], { "10.0.0.1:5058": "closed" }, { ports: "warning" }],
    ["another at it", {}, [peer()], { "10.0.0.1:5058": "other" }, { ports: "warning" }],
    [
      "a bulk port of its own",
      { bulkPort: 6 },
      [],
      { "10.0.0.1:6": "closed" },
      { ports: "warning" },
    ],
    ["a member's port closed", {}, [peer()], { "10.0.0.2:5056": "closed" }, { members: "warning" }],
    ["another at it", {}, [peer()], { "10.0.0.2:5056": "other" }, { members: "warning" }],
    ["its bulk port closed", {}, [peer()], { "10.0.0.2:5059": "closed" }, { members: "warning" }],
    ["its bulk port untold", {}, [peer({ bulkPort: undefined })], {}, { members: "ok" }],
  ])("%s", async (_what, change, peers, others, expected) => {
    expect(await network(change, peers, others)).toMatchObject(expected);
  });

  it("of a machine without a site", async () => {
    const checks = await checkNetwork(status, { self: "a", peers: [] }, portProbes);
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

  it("is probed by what a port says: nothing, an echo, HTTP and silence are no member", async () => {
    const listen = async (answer: (socket: Socket) => void) => {
      const server = createTcpServer(answer).listen(0, "127.0.0.1");
      await once(server, "listening");
      return { port: (server.address() as AddressInfo).port, server };
    };
    const http = await answering(200);
    const [echo, silent, closing] = await Promise.all([
      listen((socket) => socket.pipe(socket)),
      listen((socket) => socket.resume()),
      listen((socket) => socket.end()),
    ]);
    const others = [Number(http.host.split(":")[1]), echo.port, silent.port, closing.port];
    const probed = others.flatMap((port) => [
      portProbes.swarm("127.0.0.1", port),
      portProbes.bulk("127.0.0.1", port),
    ]);
    expect(await Promise.all(probed)).toEqual(probed.map(() => "other"));
    await http[Symbol.asyncDispose]();
    for (const { server } of [echo, silent, closing]) server.close();
    expect(await portProbes.swarm("127.0.0.1", others[0]!)).toBe("closed");
    expect(await portProbes.bulk("127.0.0.1", others[0]!)).toBe("closed");
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
  [1000 * MIB, 1001 * MIB, "failed"],
  [1000 * MIB, 1000 * MIB, "ok"],
  [1000 * MIB, undefined, "warning"],
  [5000 * MIB, undefined, "ok"],
] as const)(
  "%i bytes of free disk above a floor of %s are %s",
  (freeBytes, minFreeBytes, state) => {
    const store = { ...status.store, freeBytes, minFreeBytes };
    expect(checkDisk({ ...status, store }).state).toBe(state);
  },
);

type Logins = NonNullable<Status["logins"]>;

test.each<[string, Logins["files"], Logins["helpers"], readonly string[], string]>([
  ["no file", [{ path: "/a", state: "missing" }], [], ["ok"], "public images"],
  ["a file", [{ path: "/a", state: "read" }], [], ["ok"], "/a"],
  ["a locked file", [{ path: "/a", state: "unreadable" }], [], ["failed"], "chown"],
  ["a broken file", [{ path: "/a", state: "broken" }], [], ["failed"], "mend"],
  [
    "a helper that is not allowed",
    [],
    [{ name: "pass", allowed: false, setting: "upstream: { credentialHelpers: [pass] }" }],
    ["ok", "warning"],
    "upstream: { credentialHelpers: [pass] }",
  ],
  ["what is no helper", [], [{ name: "../x", allowed: false }], ["ok", "warning"], "take it out"],
  ["no program", [], [{ name: "pass", allowed: true }], ["ok", "failed"], "PATH"],
  [
    "a helper that fails",
    [],
    [{ name: "pass", allowed: true, program: "/bin/p", failure: "it ended with exit code 3" }],
    ["ok", "failed"],
    "echo HOST | /bin/p get",
  ],
  ["a helper", [], [{ name: "pass", allowed: true, program: "/bin/p" }], ["ok", "ok"], "/bin/p"],
])("logins by %s", (_what, files, helpers, expected, told) => {
  const checks = checkLogins({ files, helpers });
  expect(checks.map(({ state }) => state)).toEqual(expected);
  const { found, remedy = "" } = checks.at(-1)!;
  expect(`${found} ${remedy}`).toContain(told);
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
    expect(out).toMatch(/^– credentials/m);
  });
});

test("a store that takes nothing is told with why", () => {
  const store = { ...status.store, state: "full", why: "free some disk space" } as const;
  const check = checkDisk({ ...status, store });
  expect(check.state).toBe("failed");
  expect(JSON.stringify(check)).toContain("free some disk space");
});

describe("membership", () => {
  it.each([
    [30, "ok"],
    [8, "warning"],
    [-1, "failed"],
  ])("finds a certificate of 90 days that ends in %i", (days, state) => {
    const dayMs = 24 * 3600 * 1000;
    const certificate = {
      name: "store-7",
      roles: ["member"],
      issuedAt: new Date(NOW_MS + (days - 90) * dayMs).toISOString(),
      notAfter: new Date(NOW_MS + days * dayMs).toISOString(),
    };
    expect(checkCertificate(certificate, NOW_MS)).toMatchObject({ state });
  });
});
