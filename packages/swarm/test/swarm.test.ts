import { setTimeout as delay } from "node:timers/promises";
import { digestOf } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import { createMemoryStore, type Store } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createMemorySite, type MemoryTransport } from "../src/testing.ts";
import {
  addBlob,
  addTag,
  createMember,
  createOrigin,
  type Member,
  notFound,
  type Origin,
  read,
  repository,
  same,
  tag,
  unreachable,
} from "./support.ts";

const MIB = 1024 * 1024;

async function createSite(
  origin: Origin,
  count: number,
): Promise<AsyncDisposable & { members: Member[]; transports: MemoryTransport[] }> {
  const site = createMemorySite();
  const transports = Array.from({ length: count }, (_, i) => site.join(`m${i}`));
  const members = await Promise.all(
    transports.map(async (transport) => await createMember(origin, transport)),
  );
  // Everybody has announced to everybody that there is nothing.
  await delay(150);
  return {
    members,
    transports,
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map(async (member) => await member[Symbol.asyncDispose]()));
    },
  };
}

describe("one member alone", () => {
  it("asks the registry for a manifest that its own disk can't read or keep", async () => {
    const origin = createOrigin();
    const digest = addTag(origin);
    const store = createMemoryStore();
    const failing = async (): Promise<never> => {
      throw new CodedError("ERR_STORE_IO", "the disk fails");
    };
    const broken = {
      ...store,
      readAll: failing,
      table: (name: string) =>
        name === "resolutions"
          ? { ...store.table(name), get: failing, put: failing }
          : store.table(name),
    } as Store;
    await using member = await createMember(origin, undefined, {}, broken);
    for (const name of [tag, digest, tag, digest])
      expect((await member.swarm.resolve(repository, name)).digest).toBe(digest);
  });

  it("reads a blob from the registry with one request, verifies and keeps it", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 3 * MIB + 17);
    await using member = await createMember(origin);
    expect(same(await read(member, digest, bytes.length), bytes)).toBe(true);
    expect(member.store.stat(digest)?.sizeBytes).toBe(bytes.length);
    expect(same(await read(member, digest, bytes.length), bytes)).toBe(true);
    expect(origin.counts).toMatchObject({ blobGets: 1, blobBytes: bytes.length });
  });

  it("finds the size of a blob asked for without one", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 100);
    await using member = await createMember(origin);
    expect(same(await read(member, digest), bytes)).toBe(true);
  });

  it("answers an empty blob at once, and refuses one that can't be empty", async () => {
    const origin = createOrigin();
    await using member = await createMember(origin);
    expect(await read(member, digestOf(new Uint8Array()), 0)).toHaveLength(0);
    const { digest } = addBlob(origin, 5);
    await expect(read(member, digest, 0)).rejects.toMatchObject({ code: "ERR_BLOB_SIZE" });
  });

  it("serves ranges of a blob that is arriving", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const { digest, bytes } = addBlob(origin, 2 * MIB);
    await using member = await createMember(origin);
    const [all, part] = await Promise.all([
      read(member, digest, bytes.length),
      read(member, digest, bytes.length, { start: MIB, end: MIB + 1000 }),
    ]);
    expect(same(all, bytes)).toBe(true);
    expect(same(part, bytes.subarray(MIB, MIB + 1000))).toBe(true);
    expect(origin.counts.blobGets).toBe(1);
  });

  it("never shows the end of a blob whose digest is wrong", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    const wrong = Uint8Array.from(bytes);
    wrong[10]! ^= 1;
    origin.blobs.set(digest, wrong);
    await using member = await createMember(origin);
    await using blob = await member.swarm.open({ digest, repository, sizeBytes: bytes.length });
    let shown = 0;
    const reading = (async () => {
      for await (const chunk of blob.stream()) shown += chunk.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
    expect(shown).toBeLessThanOrEqual(MIB - 64 * 1024);
    expect(member.store.stat(digest)).toBeUndefined();
  });

  it("shows nothing before its end of a blob that has come wrong before", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const { digest, bytes } = addBlob(origin, MIB);
    const wrong = Uint8Array.from(bytes);
    wrong[10]! ^= 1;
    await using member = await createMember(origin);
    const shownOf = async (): Promise<number> => {
      await using blob = await member.swarm.open({ digest, repository, sizeBytes: bytes.length });
      let shown = 0;
      try {
        for await (const chunk of blob.stream()) shown += chunk.length;
      } catch (error) {
        expect(error).toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
      }
      return shown;
    };
    origin.blobs.set(digest, wrong);
    expect(await shownOf()).toBeGreaterThan(0);
    expect(await shownOf()).toBe(0);
    origin.blobs.set(digest, bytes);
    expect(await shownOf()).toBe(bytes.length);
  });

  it("gives a registry up at once whose copy of a blob ends early", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    await using member = await createMember(origin);
    let asked = 0;
    origin.blob = async () => {
      asked += 1;
      const details = { endsHere: true };
      throw new CodedError("ERR_UPSTREAM_TRUNCATED", "broke a blob off", { details });
    };
    await expect(read(member, digest, bytes.length)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TRUNCATED",
    });
    expect(asked).toBe(1);
  });

  it("tells what the registry said", async () => {
    const origin = createOrigin();
    await using member = await createMember(origin);
    const missing = digestOf(Buffer.from("nothing"));
    await expect(read(member, missing, 10)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
    });
  });

  it("passes a blob through when the store has no room", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    await using member = await createMember(
      origin,
      undefined,
      {},
      createMemoryStore({ capacityBytes: 1000 }),
    );
    expect(same(await read(member, digest, bytes.length), bytes)).toBe(true);
    expect(member.store.stat(digest)).toBeUndefined();
    const middle = await read(member, digest, bytes.length, { start: 5, end: 500 });
    expect(middle).toEqual(bytes.subarray(5, 500));
  });

  it("keeps what has arrived when its reader leaves, and goes on there", async () => {
    const origin = createOrigin();
    origin.chunkMs = 50;
    const { digest, bytes } = addBlob(origin, 4 * MIB);
    await using member = await createMember(origin);
    {
      await using blob = await member.swarm.open({ digest, repository, sizeBytes: bytes.length });
      for await (const _ of blob.stream()) if (blob.progress().arrivedBytes > MIB) break;
    }
    await delay(2000);
    const before = origin.counts.blobBytes;
    expect(before).toBeLessThan(3 * MIB + 512 * 1024);
    origin.chunkMs = 0;
    expect(same(await read(member, digest, bytes.length), bytes)).toBe(true);
    expect(origin.counts.blobBytes).toBeLessThan(bytes.length + 600_000);
  });
});

describe("a site", () => {
  it("takes one copy of a blob from the registry, however many read it at once", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const { digest, bytes } = addBlob(origin, 8 * MIB);
    await using site = await createSite(origin, 6);
    const got = await Promise.all(
      site.members.map(async (member) => await read(member, digest, bytes.length)),
    );
    for (const one of got) expect(same(one, bytes)).toBe(true);
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.05);
  });

  it("gives a late member what others have, without the registry", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 3 * MIB);
    const small = addBlob(origin, 1000);
    await using site = await createSite(origin, 3);
    await read(site.members[0]!, digest, bytes.length);
    await read(site.members[0]!, small.digest, small.bytes.length);
    await delay(200);
    origin.failure = unreachable();
    expect(same(await read(site.members[1]!, digest, bytes.length), bytes)).toBe(true);
    expect(same(await read(site.members[2]!, small.digest, small.bytes.length), small.bytes)).toBe(
      true,
    );
  });

  it("goes on when the lessee is killed at half time", async () => {
    const origin = createOrigin();
    origin.chunkMs = 2;
    const { digest, bytes } = addBlob(origin, 8 * MIB);
    await using site = await createSite(origin, 4);
    const victim = site.members[0]!;
    const doomed = read(victim, digest, bytes.length).catch(() => undefined);
    await delay(60);
    const others = site.members.slice(1).map(async (m) => await read(m, digest, bytes.length));
    await delay(60);
    site.transports[0]!.kill();
    await victim[Symbol.asyncDispose]();
    await doomed;
    for (const one of await Promise.all(others)) expect(same(one, bytes)).toBe(true);
    expect(origin.counts.blobBytes / bytes.length).toBeLessThan(1.3);
  });

  it("gets round a coordinator that does not answer", { timeout: 30_000 }, async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    await using site = await createSite(origin, 4);
    for (const transport of site.transports.slice(1)) transport.freeze();
    expect(same(await read(site.members[0]!, digest, bytes.length), bytes)).toBe(true);
  });

  it("shares nothing of a repository that is not to be shared", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    const hub = createMemorySite();
    const mayShare = (): boolean => false;
    await using first = await createMember(origin, hub.join("a"), { mayShare });
    await using second = await createMember(origin, hub.join("b"));
    await read(first, digest, bytes.length);
    await delay(200);
    await read(second, digest, bytes.length);
    expect(origin.counts.blobBytes).toBe(2 * bytes.length);
  });

  it("lets one member have what only its own credentials open", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    const hub = createMemorySite();
    const denied = { ...origin, blob: async () => await Promise.reject(notFound()) };
    await using poor = await createMember(denied, hub.join("a"));
    await using rich = await createMember(origin, hub.join("b"));
    const [one, two] = await Promise.all([
      read(poor, digest, bytes.length),
      read(rich, digest, bytes.length),
    ]);
    expect(same(one, bytes)).toBe(true);
    expect(same(two, bytes)).toBe(true);
    await expect(read(poor, addBlob(origin, 99).digest, 99)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
    });
  });
});
