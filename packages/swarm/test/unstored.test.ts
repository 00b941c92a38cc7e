import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { createMemoryStore, pieceAt, pieceGeometry, pieceLength, pieceOffset } from "@shoal/store";
import { beforeEach, describe, expect, it } from "vitest";
import { createNotary } from "../src/attestation.ts";
import {
  decodeBlock,
  decodeRequest,
  encodeBlockReply,
  encodeReply,
  encodeRequest,
} from "../src/index.ts";
import { createMemorySite, type MemorySite, type MemoryTransport } from "../src/testing.ts";
import {
  addBlob,
  createMember,
  createOrigin,
  type Member,
  notFound,
  type Origin,
  read,
  repository,
  same,
  unreachable,
} from "./support.ts";

const MIB = 1024 * 1024;

type Blob = ReturnType<typeof addBlob>;

let origin: Origin;
let hub: MemorySite;
beforeEach(() => {
  origin = createOrigin();
  hub = createMemorySite();
});

/** A member whose store takes nothing but records. */
async function fullMember(transport: MemoryTransport, upstream = origin): Promise<Member> {
  return await createMember(upstream, transport, {}, createMemoryStore({ capacityBytes: 0 }));
}

async function readAll(member: Member, { digest, bytes }: Blob): Promise<void> {
  expect(same(await read(member, digest, bytes.length), bytes)).toBe(true);
}

/** Everybody has told everybody what there is. */
async function settle(): Promise<void> {
  await delay(200);
}

/** A member that vouches for whatever it gives of blobs. */
function holderOf(transport: MemoryTransport, given: ReadonlyMap<string, Uint8Array>): void {
  const notary = createNotary(transport);
  transport.handle(async (_peer, lane, frame) => {
    if (lane === "bulk") {
      const { digest, offset, length } = decodeBlock(frame);
      const bytes = given.get(digest)!;
      const geometry = pieceGeometry(bytes.length);
      const piece = pieceAt(geometry, offset);
      const start = pieceOffset(geometry, piece);
      const whole = bytes.subarray(start, start + pieceLength(geometry, piece));
      const hash = createHash("sha256").update(whole).digest();
      const blob = { digest, sizeBytes: bytes.length };
      const attestation = await notary.sign(blob, piece, hash, "holder");
      const block = bytes.slice(offset, offset + length);
      return encodeBlockReply({ status: "ok", attestation, alternatives: [] }, block);
    }
    const nothing = { neighbours: [], leases: [], participants: 1, hope: true, retryMs: 500 };
    const holders = [transport.self];
    return decodeRequest(frame).type === "sync"
      ? [encodeReply({ type: "synced", epoch: 1, holders, ...nothing })]
      : [encodeReply({ type: "done" })];
  });
}

async function announce(from: MemoryTransport, to: MemoryTransport, blob: Blob): Promise<void> {
  const held: [Blob["digest"], number][] = [[blob.digest, blob.bytes.length]];
  const news = { type: "announce" as const, held, gone: [], complete: true };
  await from.request(to.self, "control", encodeRequest(news));
}

describe("machines without room", { timeout: 30_000 }, () => {
  it("stream from a member what it has, large and small, and the registry is asked for nothing", async () => {
    const blobs = [20, 64 * 1024, MIB, 9 * MIB + 5].map((size) => addBlob(origin, size));
    await using holder = await createMember(origin, hub.join("holder"));
    const full = await Promise.all(
      ["a", "b", "c"].map(async (name) => await fullMember(hub.join(name))),
    );
    await settle();
    for (const blob of blobs) await readAll(holder, blob);
    await settle();
    const { blobBytes } = origin.counts;
    for (const blob of blobs)
      await Promise.all(full.map(async (member) => await readAll(member, blob)));
    expect(origin.counts.blobBytes).toBe(blobBytes);
    for (const { store, swarm } of full) {
      expect([...store.blobs()]).toEqual([]);
      await swarm[Symbol.asyncDispose]();
    }
  });

  it("take part in a pull that is under way, and little more than one copy crosses the uplink", async () => {
    const blob = addBlob(origin, 12 * MIB);
    origin.chunkMs = 4;
    await using healthy = await createMember(origin, hub.join("healthy"));
    const full = await Promise.all(
      ["a", "b", "c", "d"].map(async (name) => await fullMember(hub.join(name))),
    );
    await settle();
    const pull = readAll(healthy, blob);
    await delay(50);
    await Promise.all([pull, ...full.map(async (member) => await readAll(member, blob))]);
    expect(origin.counts.blobBytes / blob.bytes.length).toBeLessThan(1.1);
    for (const { swarm } of full) await swarm[Symbol.asyncDispose]();
  });

  it("turn from the registry to a member that begins to pull after them", async () => {
    const blob = addBlob(origin, 12 * MIB);
    origin.chunkMs = 8;
    await using healthy = await createMember(origin, hub.join("healthy"));
    const full = await Promise.all(
      ["a", "b", "c", "d"].map(async (name) => await fullMember(hub.join(name))),
    );
    await settle();
    const pulls = full.map(async (member) => await readAll(member, blob));
    await delay(50);
    await Promise.all([...pulls, readAll(healthy, blob)]);
    // Alone they would be five copies.
    expect(origin.counts.blobBytes / blob.bytes.length).toBeLessThan(4);
    for (const { swarm } of full) await swarm[Symbol.asyncDispose]();
  });

  it("read from the registry what no member has", async () => {
    const blob = addBlob(origin, 3 * MIB);
    await using _other = await createMember(origin, hub.join("other"));
    await using full = await fullMember(hub.join("full"));
    await settle();
    await readAll(full, blob);
    expect(origin.counts).toMatchObject({ blobGets: 1, blobBytes: blob.bytes.length });
  });

  it("serve ranges", async () => {
    const blob = addBlob(origin, 8 * MIB);
    await using holder = await createMember(origin, hub.join("holder"));
    await using full = await fullMember(hub.join("full"));
    await settle();
    await readAll(holder, blob);
    await settle();
    origin.failure = unreachable();
    const { digest, bytes } = blob;
    const ranges = [
      [5 * MIB - 3, bytes.length],
      [MIB + 1, 2 * MIB],
      [bytes.length - 10, bytes.length],
      [7, 300],
    ] as const;
    for (const [start, end] of ranges) {
      const got = await read(full, digest, bytes.length, { start, end });
      expect([start, same(got, bytes.subarray(start, end))]).toEqual([start, true]);
    }
  });

  it("read a short range of what they don't know from the registry alone", async () => {
    const blob = addBlob(origin, 8 * MIB);
    await using holder = await createMember(origin, hub.join("holder"));
    await using full = await fullMember(hub.join("full"));
    await settle();
    await readAll(holder, blob);
    await settle();
    const { blobBytes } = origin.counts;
    const got = await read(full, blob.digest, blob.bytes.length, { start: 7, end: 300 });
    expect(same(got, blob.bytes.subarray(7, 300))).toBe(true);
    expect(origin.counts.blobBytes - blobBytes).toBe(293);
  });

  it("fetch no further ahead than their slowest client needs, and once for two at a time", async () => {
    const first = addBlob(origin, MIB);
    const blob = addBlob(origin, 48 * MIB);
    const giver = hub.join("holder");
    await using holder = await createMember(origin, giver);
    await using full = await fullMember(hub.join("full"));
    await settle();
    for (const one of [first, blob]) await readAll(holder, one);
    await settle();
    // From then on the holder's word is good.
    await readAll(full, first);
    const before = giver.sentBytes.bulk;
    const request = { digest: blob.digest, sizeBytes: blob.bytes.length, repository };
    await using open = await full.swarm.open(request);
    const bodies = [0, 1].map(() => open.stream()[Symbol.asyncIterator]());
    for (const body of bodies) await body.next();
    await delay(500);
    expect(giver.sentBytes.bulk - before).toBeLessThan(6 * MIB);
    const rests = bodies.map(async (body) => {
      let bytes = 0;
      for (let next = await body.next(); next.done !== true; next = await body.next())
        bytes += next.value.length;
      return bytes;
    });
    for (const rest of await Promise.all(rests)) expect(rest).toBeGreaterThan(47 * MIB - MIB);
    expect((giver.sentBytes.bulk - before) / blob.bytes.length).toBeLessThan(1.5);
    expect(origin.counts.blobBytes).toBe(first.bytes.length + blob.bytes.length);
  });

  it("are no source for others, and are named to nobody", async () => {
    const blob = addBlob(origin, 6 * MIB);
    origin.chunkMs = 10;
    const transports = ["a", "b"].map((name) => hub.join(name));
    await using healthy = await createMember(origin, transports[0]);
    await using full = await fullMember(transports[1]!);
    await settle();
    await Promise.all([readAll(healthy, blob), readAll(full, blob)]);
    expect(transports[1]!.sentBytes.bulk).toBe(0);
    expect(healthy.swarm.suspects()).toEqual([]);
  });

  it("take from members of another zone what those of their own can't bring", async () => {
    const blob = addBlob(origin, 5 * MIB);
    await using holder = await createMember(origin, hub.join("holder", "north"));
    await using _mate = await createMember(origin, hub.join("mate", "south"));
    await using full = await fullMember(hub.join("full", "south"));
    await settle();
    await readAll(holder, blob);
    await settle();
    origin.failure = unreachable();
    await readAll(full, blob);
  });

  it("go on at the registry when the member that gave dies", async () => {
    const blob = addBlob(origin, 16 * MIB);
    const giver = hub.join("holder");
    await using holder = await createMember(origin, giver);
    await using full = await fullMember(hub.join("full"));
    await settle();
    await readAll(holder, blob);
    await settle();
    const { digest, bytes } = blob;
    await using open = await full.swarm.open({ digest, sizeBytes: bytes.length, repository });
    const chunks: Uint8Array[] = [];
    for await (const chunk of open.stream()) {
      if (chunks.length === 3) giver.kill();
      chunks.push(chunk);
    }
    expect(same(Buffer.concat(chunks), bytes)).toBe(true);
  });

  it("get from members what their own registry refuses them", async () => {
    const blob = addBlob(origin, 5 * MIB);
    origin.chunkMs = 5;
    const denied = { ...origin, blob: async () => await Promise.reject(notFound()) };
    await using rich = await createMember(origin, hub.join("rich"));
    await using full = await fullMember(hub.join("full"), denied);
    await settle();
    const pull = readAll(rich, blob);
    await delay(50);
    await readAll(full, blob);
    await pull;
  });
});

describe("a member that gives a machine without room something else", { timeout: 30_000 }, () => {
  it.each([1000, 2 * MIB, 8 * MIB])(
    "of %i bytes and vouches for it is found out before a byte is shown",
    async (sizeBytes) => {
      const blob = addBlob(origin, sizeBytes);
      const lie = new Uint8Array(randomBytes(sizeBytes));
      const liar = hub.join("liar");
      holderOf(liar, new Map([[blob.digest, lie]]));
      const transport = hub.join("full");
      await using full = await fullMember(transport);
      await announce(liar, transport, blob);
      await readAll(full, blob);
      expect(origin.counts.blobBytes).toBe(sizeBytes);
    },
  );

  it("after it has been honest spoils one pull, which ends short, and not the next", async () => {
    const honest = addBlob(origin, MIB);
    const blob = addBlob(origin, 8 * MIB);
    const lie = Uint8Array.from(blob.bytes);
    lie[6 * MIB]! ^= 1;
    const liar = hub.join("liar");
    const transport = hub.join("full");
    await using full = await fullMember(transport);
    holderOf(
      liar,
      new Map([
        [honest.digest, honest.bytes],
        [blob.digest, lie],
      ]),
    );
    for (const one of [honest, blob]) await announce(liar, transport, one);
    await readAll(full, honest);
    expect(origin.counts.blobBytes).toBe(0);

    const { digest, bytes } = blob;
    await using open = await full.swarm.open({ digest, sizeBytes: bytes.length, repository });
    let shown = 0;
    const reading = (async () => {
      for await (const chunk of open.stream()) shown += chunk.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
    expect(shown).toBeGreaterThan(0);
    expect(shown).toBeLessThanOrEqual(bytes.length - 64 * 1024);
    await readAll(full, blob);
  });

  it("that nobody vouches for has a strike, and the registry is asked", async () => {
    const blob = addBlob(origin, 2 * MIB);
    const liar = hub.join("liar");
    liar.handle(async (_peer, lane, frame) =>
      lane === "bulk"
        ? encodeBlockReply(
            { status: "ok", alternatives: [] },
            randomBytes(decodeBlock(frame).length),
          )
        : [encodeReply({ type: "done" })],
    );
    const transport = hub.join("full");
    await using full = await fullMember(transport);
    await announce(liar, transport, blob);
    await readAll(full, blob);
    expect(full.swarm.suspects()).toMatchObject([{ peer: liar.self }]);
  });
});
