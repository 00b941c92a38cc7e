import { setTimeout as delay } from "node:timers/promises";
import { formatRepository } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import type { Upstream } from "@shoal/upstream";
import { describe, expect, it } from "vitest";
import { decodeRequest, type PeerTransport, rank, type SwarmInit } from "../../src/index.ts";
import { createMemorySite, type MemoryTransport } from "../../src/testing.ts";
import {
  addBlob,
  createMember,
  createOrigin,
  type Member,
  type Origin,
  read,
  repository,
  same,
  unreachable,
} from "../support.ts";

const MIB = 1024 * 1024;

interface TestSite extends AsyncDisposable {
  readonly members: Member[];
  readonly transports: MemoryTransport[];
  /** Control messages that were asked, by type. */
  readonly asked: Map<string, number>;
}

/** The transport, with its control messages counted. */
function counted(transport: MemoryTransport, asked: Map<string, number>): PeerTransport {
  return {
    ...transport,
    async request(peer, lane, frame, options) {
      if (lane === "control") {
        const { type } = decodeRequest(frame);
        asked.set(type, (asked.get(type) ?? 0) + 1);
      }
      return await transport.request(peer, lane, frame, options);
    },
  };
}

async function createSite(
  upstream: Upstream | ((index: number) => Upstream),
  count: number,
  init: SwarmInit = {},
): Promise<TestSite> {
  const hub = createMemorySite();
  const asked = new Map<string, number>();
  const transports = Array.from({ length: count }, (_, i) => hub.join(`m${i}`));
  const members = await Promise.all(
    transports.map(async (transport, i) => {
      const own = typeof upstream === "function" ? upstream(i) : upstream;
      return await createMember(own, counted(transport, asked), init);
    }),
  );
  await delay(150);
  return {
    members,
    transports,
    asked,
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map(async (member) => await member[Symbol.asyncDispose]()));
    },
  };
}

/** Notes when the registry has sent how much. */
function recordFlow(origin: Origin): {
  startedMs: number;
  points: { ms: number; bytes: number }[];
} {
  const flow = { startedMs: performance.now(), points: [] as { ms: number; bytes: number }[] };
  let bytes = 0;
  Object.defineProperty(origin.counts, "blobBytes", {
    get: () => bytes,
    set(value: number) {
      bytes = value;
      flow.points.push({ ms: performance.now() - flow.startedMs, bytes });
    },
  });
  return flow;
}

describe("a limit on the uplink", () => {
  it.each([1, 6])("holds for all of %i members together", { timeout: 20_000 }, async (count) => {
    const origin = createOrigin();
    const limit = 4 * MIB;
    const { digest, bytes } = addBlob(origin, 10 * MIB);
    await using site = await createSite(origin, count, { uplink: { bytesPerSecond: limit } });
    const flow = recordFlow(origin);
    const got = await Promise.all(
      site.members.map(async (member) => await read(member, digest, bytes.length)),
    );
    const tookMs = performance.now() - flow.startedMs;
    for (const one of got) expect(same(one, bytes)).toBe(true);
    for (const point of flow.points)
      expect(point.bytes).toBeLessThanOrEqual((1.05 * limit * point.ms) / 1000 + 64 * 1024);
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.05);
    // And it is made use of, but for the last pieces, when most have nothing left to fetch.
    expect(tookMs).toBeLessThan((2 * 1000 * bytes.length) / limit);
    // About two questions a second of each member that fetches, and none when nobody does.
    const questions = site.asked.get("uplink") ?? 0;
    expect(questions).toBeLessThan(count * (4 + (8 * tookMs) / 1000));
  });

  it("is kept when its office dies", { timeout: 20_000 }, async () => {
    const origin = createOrigin();
    const limit = 2 * MIB;
    const { digest, bytes } = addBlob(origin, 7 * MIB);
    await using site = await createSite(origin, 5, { uplink: { bytesPerSecond: limit } });
    const ids = site.transports.map(({ self }) => self);
    const office = ids.indexOf(rank(ids, "uplink *")[0]!);
    const flow = recordFlow(origin);
    const reads = site.members.map(async (member) => await read(member, digest, bytes.length));
    const outcomes = Promise.allSettled(reads);
    await delay(1500);
    site.transports[office]!.kill();
    void site.members[office]![Symbol.asyncDispose]();
    const results = await outcomes;
    for (const [i, result] of results.entries())
      if (i !== office) expect(result.status).toBe("fulfilled");
    const last = flow.points.at(-1)!;
    expect(last.bytes).toBeLessThanOrEqual((1.05 * limit * last.ms) / 1000 + 64 * 1024);
  });

  it("can be set on one member while all pull, and taken away again", async () => {
    const origin = createOrigin();
    origin.chunkMs = 5;
    const limit = MIB;
    const { digest, bytes } = addBlob(origin, 24 * MIB);
    await using site = await createSite(origin, 3);
    const reads = site.members.map(async (member) => await read(member, digest, bytes.length));
    await delay(100);
    site.members[1]!.swarm.setLimits({ bytesPerSecond: limit });
    await delay(100);
    for (const { swarm } of site.members)
      expect(swarm.limits()).toMatchObject({ bytesPerSecond: limit });
    const before = origin.counts.blobBytes;
    await delay(2000);
    expect(origin.counts.blobBytes - before).toBeLessThanOrEqual(1.05 * 2 * limit + 3 * 65_536);
    site.members[2]!.swarm.setLimits({ bytesPerSecond: null });
    for (const one of await Promise.all(reads)) expect(same(one, bytes)).toBe(true);
    expect(site.members[0]!.swarm.limits().bytesPerSecond).toBeUndefined();
  });

  it("is told to a member that comes later", async () => {
    const origin = createOrigin();
    const hub = createMemorySite();
    await using first = await createMember(origin, hub.join("a"));
    first.swarm.setLimits({ bytesPerSecond: 1000, connections: 3 });
    await using second = await createMember(origin, hub.join("b"));
    await delay(50);
    expect(second.swarm.limits()).toMatchObject({ bytesPerSecond: 1000, connections: 3 });
  });

  it("costs no message and no wait where there is none", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 4 * MIB);
    await using site = await createSite(origin, 4);
    await Promise.all(site.members.map(async (m) => await read(m, digest, bytes.length)));
    for (const type of ["uplink", "pause", "limits"]) expect(site.asked.get(type)).toBeUndefined();
  });
});

describe("requests at a time", () => {
  it.each([1, 2])("are %i for all members together", { timeout: 20_000 }, async (most) => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 6 * MIB);
    let open = 0;
    let highest = 0;
    const counting: Upstream = {
      ...origin,
      async blob(...question) {
        const blob = await origin.blob(...question);
        async function* body(): AsyncGenerator<Uint8Array> {
          open += 1;
          highest = Math.max(highest, open);
          try {
            for await (const chunk of blob.body) {
              await delay(2);
              yield chunk;
            }
          } finally {
            open -= 1;
          }
        }
        return { ...blob, body: body() };
      },
    };
    await using site = await createSite(counting, 5, { uplink: { connections: most } });
    const got = await Promise.all(
      site.members.map(async (member) => await read(member, digest, bytes.length)),
    );
    for (const one of got) expect(same(one, bytes)).toBe(true);
    expect(highest).toBeLessThanOrEqual(most);
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.5);
  });
});

describe("a registry that asks for a pause", () => {
  it("is left alone by the whole site until the time that one member was told", async () => {
    const origin = createOrigin();
    origin.chunkMs = 3;
    const { digest, bytes } = addBlob(origin, 16 * MIB);
    const calls: number[] = [];
    let refusedMs: number | undefined;
    const limiting: Upstream = {
      ...origin,
      async blob(...question) {
        calls.push(performance.now());
        if (calls.length >= 8 && refusedMs === undefined) {
          refusedMs = performance.now();
          throw new CodedError("ERR_UPSTREAM_RATE_LIMITED", "wait", {
            details: { retryAfterMs: 1500 },
          });
        }
        return await origin.blob(...question);
      },
    };
    await using site = await createSite(limiting, 5);
    const got = await Promise.all(
      site.members.map(async (member) => await read(member, digest, bytes.length)),
    );
    for (const one of got) expect(same(one, bytes)).toBe(true);
    const early = calls.filter((ms) => ms > refusedMs! + 30 && ms < refusedMs! + 1480);
    expect(early).toEqual([]);
    expect(site.asked.get("pause")).toBeLessThanOrEqual(6);
  });

  it("is left alone by a member that comes during the pause, and when the office is gone", async () => {
    const origin = createOrigin();
    const hub = createMemorySite();
    const transports = ["a", "b", "c"].map((name) => hub.join(name));
    const members = await Promise.all(
      transports.map(async (transport) => await createMember(origin, transport)),
    );
    const ranked = rank(
      transports.map(({ self }) => self),
      `uplink ${repository.registry}`,
    );
    const office = transports.findIndex(({ self }) => self === ranked[0]);
    const told = (office + 1) % 3;
    origin.failure = new CodedError("ERR_UPSTREAM_RATE_LIMITED", "wait", {
      details: { retryAfterMs: 60_000 },
    });
    const { digest } = addBlob(origin, 1000);
    const question = read(members[told]!, digest).catch((error: unknown) => error);
    expect(await question).toMatchObject({ code: "ERR_UPSTREAM_RATE_LIMITED" });
    await delay(50);
    transports[office]!.kill();
    origin.failure = undefined;
    await using late = await createMember(origin, hub.join("late"));
    await delay(50);
    await expect(read(late, digest)).rejects.toMatchObject({ code: "ERR_UPSTREAM_RATE_LIMITED" });
    for (const member of members) await member[Symbol.asyncDispose]();
    expect(formatRepository(repository)).toContain(repository.registry);
  });

  it("is asked again by all when half of the site could not reach it, after a while", async () => {
    const origin = createOrigin();
    await using site = await createSite(origin, 4);
    const { digest } = addBlob(origin, 1000);
    origin.failure = unreachable();
    for (const member of site.members.slice(0, 2))
      await expect(read(member, digest)).rejects.toMatchObject({
        code: "ERR_UPSTREAM_UNREACHABLE",
      });
    origin.failure = undefined;
    await delay(50);
    await expect(read(site.members[3]!, digest)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNREACHABLE",
      details: { paused: true },
    });
    await delay(500);
    expect(await read(site.members[3]!, digest)).toHaveLength(1000);
  });
});

it("sends members no more than its own limit", async () => {
  const origin = createOrigin();
  const { digest, bytes } = addBlob(origin, 3 * MIB);
  const hub = createMemorySite();
  const limit = 2 * MIB;
  await using holder = await createMember(origin, hub.join("a"), { uploadBytesPerSecond: limit });
  await read(holder, digest, bytes.length);
  await using asker = await createMember(origin, hub.join("b"));
  await delay(200);
  origin.failure = unreachable();
  const startedMs = performance.now();
  expect(same(await read(asker, digest, bytes.length), bytes)).toBe(true);
  const tookMs = performance.now() - startedMs;
  expect(tookMs).toBeGreaterThan((1000 * bytes.length) / limit - 300);
  expect(tookMs).toBeLessThan((1500 * bytes.length) / limit);
});
