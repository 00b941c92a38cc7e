import { setTimeout as delay } from "node:timers/promises";
import type { Digest } from "@shoal/oci";
import { hasCode } from "@shoal/runtime";
import { createMemoryStore, type Ingest, type Store } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { describe, expect, it } from "vitest";
import { createMemorySite } from "../src/testing.ts";
import {
  addBlob,
  createMember,
  createOrigin,
  type Origin,
  read,
  repository,
  same,
} from "./support.ts";

/** The way to a registry whose endpoints give wrong bytes of all blobs, until so many of them are rejected. */
function behindLiars(origin: Origin, liars: number): { upstream: Upstream; rejections: Digest[] } {
  const rejections: Digest[] = [];
  const upstream: Upstream = {
    ...origin,
    async blob(repository, digest, options = {}) {
      const { body, ...told } = await origin.blob(repository, digest, options);
      const lying = rejections.length < liars;
      async function* spoiled(): AsyncGenerator<Uint8Array> {
        for await (const chunk of body) {
          if (!lying) yield chunk;
          else yield chunk.map((byte) => byte ^ (rejections.length + 1));
        }
      }
      return { ...told, body: spoiled() };
    },
    reject(_repository, digest) {
      rejections.push(digest);
      return rejections.length <= liars;
    },
  };
  return { upstream, rejections };
}

/** A store that takes its time to drop pieces, as a busy disk does. */
function slowToDrop(): Store {
  const store = createMemoryStore();
  return {
    ...store,
    async openIngest(target, options) {
      const ingest = await store.openIngest(target, options);
      const drop = ingest.drop.bind(ingest);
      return Object.assign<Ingest, Partial<Ingest>>(ingest, {
        async drop(pieces) {
          const dropped = drop(pieces);
          await delay(100);
          await dropped;
        },
      });
    },
  };
}

/** Reads until it is right, at most so often. */
async function readWithin(tries: number, attempt: () => Promise<Uint8Array>): Promise<Uint8Array> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (failures === tries || !hasCode(error, "ERR_DIGEST_MISMATCH")) throw error;
    }
  }
}

const SIZE = 3 * 1024 * 1024;

describe("wrong bytes of an endpoint", () => {
  it("are fetched again from another, within the same pull where nobody has seen them", async () => {
    const origin = createOrigin();
    const { upstream, rejections } = behindLiars(origin, 2);
    const { digest, bytes } = addBlob(origin, SIZE);
    await using member = await createMember(upstream);
    await using blob = await member.swarm.open({ digest, repository, sizeBytes: SIZE });
    await blob.finished();
    expect(rejections).toEqual([digest, digest]);
    expect(same(await read(member, digest, SIZE), bytes)).toBe(true);
  });

  it("are not fetched again before the old ones are out of the way, only to be thrown away", async () => {
    const origin = createOrigin();
    const { upstream } = behindLiars(origin, 2);
    const { digest } = addBlob(origin, SIZE);
    await using member = await createMember(upstream, undefined, {}, slowToDrop());
    await using blob = await member.swarm.open({ digest, repository, sizeBytes: SIZE });
    await blob.finished();
    expect(origin.counts.blobBytes).toBe(3 * SIZE);
  });

  it("end a pull that has shown them, and the next one is right", async () => {
    const origin = createOrigin();
    const { upstream } = behindLiars(origin, 1);
    const { digest, bytes } = addBlob(origin, SIZE);
    await using member = await createMember(upstream);
    await expect(read(member, digest, SIZE)).rejects.toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
    expect(same(await read(member, digest, SIZE), bytes)).toBe(true);
  });

  it("are an error of the registry's when nobody else can be asked", async () => {
    const origin = createOrigin();
    const { upstream, rejections } = behindLiars(origin, 1);
    const { digest } = addBlob(origin, 2048);
    rejections.length = 0;
    const lonely = { ...upstream, reject: () => false };
    await using member = await createMember(lonely);
    await expect(read(member, digest, 2048)).rejects.toMatchObject({
      code: "ERR_DIGEST_MISMATCH",
      message: expect.stringContaining("registry.test sent bytes that are not") as string,
    });
  });

  it("that one member of a site was given spoil at most one try of each, and ban none", async () => {
    const site = createMemorySite();
    const origin = createOrigin();
    origin.chunkMs = 2;
    const { digest, bytes } = addBlob(origin, SIZE);
    const overTls = { overTls: () => false };
    const misled = behindLiars(origin, 1);
    await using first = await createMember(misled.upstream, site.join("first"), overTls);
    await using second = await createMember(origin, site.join("second"), overTls);
    await using third = await createMember(origin, site.join("third"), overTls);
    const members = [first, second, third];
    const got = await Promise.all(
      members.map(
        async (member) => await readWithin(2, async () => await read(member, digest, SIZE)),
      ),
    );
    for (const one of got) expect(same(one, bytes)).toBe(true);
    expect(misled.rejections).toContain(digest);
    for (const member of members)
      for (const { bannedUntilMs } of member.swarm.suspects())
        expect(bannedUntilMs).toBeUndefined();
  }, 30_000);
});
