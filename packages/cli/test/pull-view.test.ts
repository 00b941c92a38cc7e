import type { Peer, Status } from "@shoal/api";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { bar } from "../src/bar.ts";
import { pullLines, summary } from "../src/pull-view.ts";
import { imageLines, peerLines, pullListLines, statusLines } from "../src/views.ts";
import { donePull, layer, MIB, pull, STARTED, status } from "./fixtures.ts";

const START = Date.parse(STARTED);

const arriving = pull("fetching", {
  layers: [
    layer("aa", {
      state: "fetching",
      arrivedBytes: 25 * MIB,
      fromPeersBytes: 20 * MIB,
      fromUpstreamBytes: 5 * MIB,
    }),
    layer("bb", { state: "done", arrivedBytes: 50 * MIB, fromStoreBytes: 50 * MIB }),
    layer("cc"),
  ],
});
const samples = [
  { atMs: START, bytes: 0 },
  { atMs: START + 2000, bytes: 25 * MIB },
];

test("a pull on 80 columns", () => {
  expect(pullLines({ pull: arriving, samples }, 80, START + 2000)).toMatchInlineSnapshot(`
    [
      "docker.io/library/alpine:latest (linux/amd64)",
      "█ registry  ▓ peers  ░ was here",
      "aaaaaaaaaaaa ████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓····················   25.0 MiB/50.0 MiB",
      "bbbbbbbbbbbb ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░   50.0 MiB/50.0 MiB",
      "cccccccccccc ········································        0 B/50.0 MiB",
      "75.0 MiB of 150 MiB, 12.5 MiB/s, 6.0 s left, 80 % from peers",
    ]
  `);
});

test("a pull on 40 columns", () => {
  expect(pullLines({ pull: arriving, samples }, 40, START + 2000)).toMatchInlineSnapshot(`
    [
      "docker.io/library/alpine:latest (linux/…",
      "█ registry  ▓ peers  ░ was here",
      "aaaaaaaaaaaa ██▓▓▓▓▓▓▓▓··········  50 %",
      "bbbbbbbbbbbb ░░░░░░░░░░░░░░░░░░░░ 100 %",
      "cccccccccccc ····················   0 %",
      "75.0 MiB of 150 MiB, 12.5 MiB/s",
    ]
  `);
});

test("a pull of many layers keeps to its rows, and shows what is under way", () => {
  const layers = Array.from({ length: 40 }, (_, index) =>
    layer(index.toString(16).padStart(2, "0"), { state: index === 39 ? "fetching" : "done" }),
  );
  const lines = pullLines({ pull: pull("fetching", { layers }), samples: [] }, 80, START, 10);
  expect(lines).toHaveLength(10);
  expect(lines.join("\n")).toContain("272727272727");
  expect(lines.join("\n")).toContain("and 34 more layers");
});

test("names from elsewhere do not steer the terminal", () => {
  const evil = pull("resolving", { reference: "a\u001B[2Jb\r\u202Ec" });
  expect(pullLines({ pull: evil, samples: [] }, 80, START)[0]).toBe("a?[2Jb??c (linux/amd64)");
  expect(summary(evil)).not.toContain("\u001B");
  const peer: Peer = { id: "x\u001B[A", state: "up", addresses: [], source: "mdns", strikes: 0 };
  expect(peerLines({ self: "me", peers: [peer] }, 80, START).join("")).not.toContain("\u001B");
});

test("peers show their zones where there are any", () => {
  const peer: Peer = { id: "p", state: "up", addresses: [], source: "mdns", strikes: 0 };
  expect(peerLines({ self: "me", peers: [peer] }, 80, START).join("\n")).not.toContain("ZONE");
  const zoned = { ...peer, zone: "rack2" };
  const lines = peerLines({ self: "me", zone: "rack1", peers: [zoned, peer] }, 80, START);
  expect(lines[0]).toMatch(/^STATE +PEER +ZONE/);
  expect(lines[1]).toMatch(/^up +p +rack2/);
  expect(lines.at(-1)).toBe("this machine is me in zone rack1");
});

test("peers show their names where any has one", () => {
  const peer: Peer = { id: "p", state: "up", addresses: [], source: "mdns", strikes: 0 };
  expect(peerLines({ self: "me", peers: [peer] }, 80, START).join("\n")).not.toContain("NAME");
  const named = { ...peer, name: "store-7" };
  const lines = peerLines({ self: "me", peers: [named, peer] }, 80, START);
  expect(lines[0]).toMatch(/^STATE +NAME +PEER +ADDRESS/);
  expect(lines[1]).toMatch(/^up +store-7 +p /);
  expect(lines[2]).toMatch(/^up +p /);
});

const bytes = fc.nat({ max: 2 ** 40 });
const anyLayer = fc
  .record({
    up: bytes,
    peers: bytes,
    store: bytes,
    missing: bytes,
    state: fc.constantFrom("waiting", "fetching", "done", "failed"),
  })
  .map(({ up, peers, store, missing, state }) =>
    layer("ab", {
      sizeBytes: up + peers + store + missing,
      arrivedBytes: up + peers + store,
      fromUpstreamBytes: up,
      fromPeersBytes: peers,
      fromStoreBytes: store,
      state,
    }),
  );
const anyPull = fc
  .record({
    reference: fc.string({ maxLength: 200, unit: "binary" }),
    state: fc.constantFrom("resolving", "fetching", "done", "failed", "cancelled"),
    layers: fc.array(anyLayer, { maxLength: 12 }),
    stale: fc.boolean(),
  })
  .map(({ state, ...change }) => pull(state, change));

test("no view is ever wider than the terminal, or higher", () => {
  fc.assert(
    fc.property(
      anyPull,
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 6, max: 30 }),
      fc.nat({ max: 10_000_000 }),
      (pull, columns, rows, elapsedMs) => {
        const nowMs = START + elapsedMs;
        const drawn = pullLines({ pull, samples }, columns, nowMs, rows);
        expect(drawn.length).toBeLessThanOrEqual(rows);
        const image = {
          name: pull.reference,
          digest: "sha256:ab",
          mediaType: "",
          sizeBytes: 1,
          complete: true,
        };
        const peer: Peer = {
          id: pull.reference,
          state: "down",
          addresses: [pull.reference],
          source: "mdns",
          lastSeenAt: STARTED,
          strikes: 1,
        };
        for (const line of [
          ...drawn,
          ...pullListLines([pull], columns, nowMs),
          ...statusLines(status, columns, nowMs),
          ...imageLines([image], columns),
          ...peerLines({ self: pull.reference, peers: [peer] }, columns, nowMs),
        ]) {
          expect(line).toMatch(/^[\x20-\x7E█▓░·…]*$/u);
          expect(line.length).toBeLessThanOrEqual(columns);
        }
      },
    ),
  );
});

test("a bar is exactly as wide as asked, and full only when all is there", () => {
  fc.assert(
    fc.property(
      bytes,
      bytes,
      bytes,
      bytes,
      fc.integer({ min: 1, max: 80 }),
      (a, b, c, rest, width) => {
        const sources = { upstreamBytes: a, peersBytes: b, storeBytes: c };
        const drawn = bar(a + b + c, a + b + c + rest, sources, width);
        expect(drawn).toHaveLength(width);
        expect(drawn.includes("·")).toBe(rest > 0);
      },
    ),
  );
});

test("on a narrow terminal lists keep what matters, and say why a pull failed", () => {
  const id = "0f1e2d3c-aaaa-4bbb-8ccc-dddddddddddd";
  const error = {
    code: "ERR_UPSTREAM_NOT_FOUND",
    message: "quay.io has no a/b:v1; check the name",
  };
  const failed = pull("failed", { id, reference: "quay.io/a/b:v1", error });
  expect(pullListLines([failed, pull("done")], 50, START + 65_000)).toMatchInlineSnapshot(`
    [
      "ID        STATE   REFERENCE",
      "0f1e2d3c  failed  quay.io/a/b:v1",
      "  ERR_UPSTREAM_NOT_FOUND: quay.io has no a/b:v1;",
      "  check the name",
      "1         done    docker.io/library/alpine:latest",
    ]
  `);
  const peer = (end: string, strikes: number): Peer => ({
    id: `12D3KooWETbNS4r7gyRcKZCY4b21ZLxCvTipLDVAxonGY4${end}`,
    state: "up",
    addresses: ["10.77.0.12:5056"],
    source: "mdns",
    strikes,
  });
  const list = { self: peer("9oZVdk", 0).id, peers: [peer("LWUgX7", 1), peer("abcdef", 0)] };
  expect(peerLines(list, 50, START)).toMatchInlineSnapshot(`
    [
      "STATE  PEER      ADDRESS          LAST SEEN",
      "up     Y4LWUgX7  10.77.0.12:5056",
      "  1 strike: gave wrong bytes",
      "up     Y4abcdef  10.77.0.12:5056",
      "this machine is",
      "12D3KooWETbNS4r7gyRcKZCY4b21ZLxCvTipLDVAxonGY49oZV",
      "dk",
    ]
  `);
  const falseBlob = (hex: string) => ({
    digest: `sha256:${hex.repeat(64)}`,
    registry: "quay.io",
    at: STARTED,
    counts: true,
    proof: "",
  });
  const banned = {
    ...peer("LWUgX7", 3),
    bannedUntil: STARTED,
    falseBlobs: ["a", "b", "c"].map(falseBlob),
  };
  expect(peerLines({ ...list, peers: [banned] }, 100, START).slice(2, 4)).toMatchInlineSnapshot(`
    [
      "  3 strikes: gave wrong bytes; vouched falsely for bbbbbbbbbbbb of quay.io, cccccccccccc of quay.io;",
      "  and for 1 other blob; banned until 2026-01-02T03:04:05.000Z",
    ]
  `);
  const unwell = {
    ...status,
    peerId: list.self,
    registries: [{ registry: "docker.io", lastErrorCode: "ERR_UPSTREAM_FORBIDDEN_ADDRESS" }],
  };
  expect(statusLines(unwell, 50, START + 65_000)).toMatchInlineSnapshot(`
    [
      "version    0.1.0, started 1 min 5 s ago",
      "peer id    12D3KooWETbNS4r7gyRcKZCY4b21ZLxCvTipLDV",
      "           AxonGY49oZVdk",
      "mirror     http://127.0.0.1:5055",
      "site       none: this machine shares with nobody",
      "swarm      /ip4/10.0.0.1/tcp/5056",
      "peers      1 up, mDNS on",
      "store      3 blobs, 5.00 MiB; 900 MiB free in",
      "           /var/lib/shoal",
      "arriving   0 blobs, 0 B of unfinished ones kept",
      "received   4.00 MiB: 75 % from peers, 25 % from",
      "           registries",
      "given      0 B to peers, 0 B to engines",
      "docker.io  last failed with",
      "           ERR_UPSTREAM_FORBIDDEN_ADDRESS",
    ]
  `);
});

test("the summary adds up", () => {
  expect(summary(donePull)).toMatch(/100 MiB: 97 % from peers, 3 % from the registry, in 4\.2 s$/);
});

test("the status tells how many pulls a registry still allows", () => {
  const pullLimit = { limit: 100, remaining: 76, windowSeconds: 21_600 };
  const registries = [{ registry: "docker.io", pullLimit }];
  expect(statusLines({ ...status, registries }, 80, START).at(-1)).toBe(
    "docker.io  well, 76 of 100 pulls left in 6 h 0 min",
  );
});

test("the status tells which engines have asked, the latest first", () => {
  const engines = (clients: Status["clients"]): string | undefined =>
    statusLines({ ...status, clients }, 100, START + 65_000).find((line) =>
      line.startsWith("engines"),
    );
  const earlier = { engine: "containerd-library", lastSeenAt: new Date(START).toISOString() };
  const later = { engine: "docker", lastSeenAt: new Date(START + 60_000).toISOString() };
  expect(engines([earlier, later])).toMatch(
    /^engines +docker 5\.0 s ago, containerd-library 1 min 5 s ago$/,
  );
  expect(engines([])).toContain("none has asked yet");
  expect(engines(undefined)).toBeUndefined();
});
