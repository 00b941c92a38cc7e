import { setTimeout as delay } from "node:timers/promises";
import { digestOf } from "@shoal/oci";
import { describe, expect, it } from "vitest";
import { type PeerTransport, rank } from "../src/index.ts";
import { createMemorySite, type MemoryTransport } from "../src/testing.ts";
import {
  addBlob,
  createMember,
  createOrigin,
  type Member,
  notFound,
  type Origin,
  read,
  same,
  unreachable,
} from "./support.ts";

const MIB = 1024 * 1024;

interface Racks extends AsyncDisposable {
  readonly members: Member[];
  readonly transports: MemoryTransport[];
  /** Bytes of blobs that came into each zone, from others and from the registry. */
  readonly bytesInto: Map<string, { peers: number; registry: number }>;
}

/** A site whose zones are given by their labels, one a member. */
async function createRacks(
  origin: Origin,
  labels: readonly (string | undefined)[],
  mayFetch: (index: number) => boolean = () => true,
): Promise<Racks> {
  const hub = createMemorySite();
  const bytesInto: Racks["bytesInto"] = new Map();
  const transports = labels.map((label, i) => hub.join(`m${i}`, label));
  const members = await Promise.all(
    transports.map(async (transport, i) => {
      const label = labels[i] ?? "";
      const into = bytesInto.get(label) ?? { peers: 0, registry: 0 };
      bytesInto.set(label, into);
      const counted: PeerTransport = {
        ...transport,
        async request(peer, lane, frame, options) {
          const answer = await transport.request(peer, lane, frame, options);
          const crossed = transport.zoneOf!(peer) !== transport.zoneOf!(transport.self);
          if (lane === "bulk" && crossed) into.peers += answer.length;
          return answer;
        },
      };
      const upstream: Origin = {
        ...origin,
        async blob(...question) {
          if (!mayFetch(i)) throw notFound();
          const blob = await origin.blob(...question);
          async function* body(): AsyncGenerator<Uint8Array> {
            for await (const chunk of blob.body) {
              into.registry += chunk.length;
              yield chunk;
            }
          }
          return { ...blob, body: body() };
        },
      };
      return await createMember(upstream, counted);
    }),
  );
  await delay(150);
  return {
    members,
    transports,
    bytesInto,
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map(async (member) => await member[Symbol.asyncDispose]()));
    },
  };
}

const TWO_OF_FIVE = Array.from("aaaaabbbbb");

describe("zones", () => {
  it("get each piece once, two of five, all at once", { timeout: 30_000 }, async () => {
    const origin = createOrigin();
    origin.chunkMs = 4;
    const { digest, bytes } = addBlob(origin, 16 * MIB);
    await using racks = await createRacks(origin, TWO_OF_FIVE);
    const got = await Promise.all(
      racks.members.map(async (member) => await read(member, digest, bytes.length)),
    );
    for (const one of got) expect(same(one, bytes)).toBe(true);
    for (const { peers, registry } of racks.bytesInto.values())
      expect((peers + registry) / bytes.length).toBeLessThan(1.05);
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.05);
  });

  it("get from another zone what is there, once, without the registry", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 8 * MIB);
    await using racks = await createRacks(origin, TWO_OF_FIVE);
    await read(racks.members[0]!, digest, bytes.length);
    await delay(200);
    origin.failure = unreachable();
    const late = racks.members.slice(5);
    const got = await Promise.all(late.map(async (m) => await read(m, digest, bytes.length)));
    for (const one of got) expect(same(one, bytes)).toBe(true);
    expect(racks.bytesInto.get("b")!.peers / bytes.length).toBeLessThan(1.05);
    expect(racks.bytesInto.get("a")!.peers).toBe(0);
  });

  it("ask their own holder before another zone's", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 4 * MIB);
    await using racks = await createRacks(origin, TWO_OF_FIVE);
    await read(racks.members[0]!, digest, bytes.length);
    await read(racks.members[5]!, digest, bytes.length);
    await delay(200);
    const before = racks.bytesInto.get("b")!.peers;
    await read(racks.members[6]!, digest, bytes.length);
    await read(racks.members[7]!, digest, bytes.length);
    expect(racks.bytesInto.get("b")!.peers).toBe(before);
  });

  it("go on when a zone's coordinator dies", { timeout: 30_000 }, async () => {
    const origin = createOrigin();
    origin.chunkMs = 4;
    const { digest, bytes } = addBlob(origin, 16 * MIB);
    await using racks = await createRacks(origin, TWO_OF_FIVE);
    const mates = racks.transports.slice(5).map(({ self }) => self);
    const first = rank(mates, digest)[0]!;
    const victim = racks.transports.findIndex(({ self }) => self === first);
    const reads = racks.members.map(async (member) => await read(member, digest, bytes.length));
    const outcomes = Promise.allSettled(reads);
    await delay(120);
    racks.transports[victim]!.kill();
    await racks.members[victim]![Symbol.asyncDispose]();
    for (const [i, outcome] of (await outcomes).entries())
      if (i !== victim) expect(outcome.status).toBe("fulfilled");
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.3);
  });

  it("get across what only one member of the other may have", { timeout: 30_000 }, async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 2 * MIB);
    await using racks = await createRacks(origin, TWO_OF_FIVE, (index) => index === 7);
    const got = await Promise.all(
      racks.members.map(async (member) => await read(member, digest, bytes.length)),
    );
    for (const one of got) expect(same(one, bytes)).toBe(true);
    expect(origin.counts.blobBytes).toBe(bytes.length);
  });

  it("hear it when the registry has no such blob", { timeout: 30_000 }, async () => {
    const origin = createOrigin();
    const missing = digestOf(Buffer.from("nothing"));
    await using racks = await createRacks(origin, Array.from("aabb"));
    const reads = racks.members.map(async (member) => await read(member, missing, 3 * MIB));
    for (const outcome of await Promise.allSettled(reads))
      expect(outcome).toMatchObject({ reason: { code: "ERR_UPSTREAM_NOT_FOUND" } });
  });

  it.each([
    ["one member each", Array.from("abcd")],
    ["members without a label beside one with", [undefined, undefined, undefined, "a"]],
  ])("may be of %s", { timeout: 30_000 }, async (_name, labels) => {
    const origin = createOrigin();
    origin.chunkMs = 2;
    const { digest, bytes } = addBlob(origin, 6 * MIB);
    const small = addBlob(origin, 1000);
    await using racks = await createRacks(origin, labels);
    for (const blob of [{ digest, bytes }, small]) {
      const got = await Promise.all(
        racks.members.map(async (m) => await read(m, blob.digest, blob.bytes.length)),
      );
      for (const one of got) expect(same(one, blob.bytes)).toBe(true);
    }
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.05);
  });
});
