import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  createMemoryStore,
  type Ingest,
  type PieceIndex,
  pieceLength,
  pieceOffset,
  type Store,
} from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createNotary } from "../src/attestation.ts";
import {
  decodeRequest,
  encodeReply,
  encodeRequest,
  type PeerTransport,
  rank,
} from "../src/index.ts";
import { createMemorySite, type MemoryTransport } from "../src/testing.ts";
import {
  addBlob,
  createMember,
  createOrigin,
  type Member,
  type Origin,
  read,
  same,
} from "./support.ts";

const MIB = 1024 * 1024;

/** Which of the pieces that it has read from the upstream a member lies about. */
type Lie = (count: number) => boolean;

/** A store that gives out, and hashes, wrong bytes for pieces that were written without a promised hash. */
function lyingStore(store: Store, lies: Lie): Store {
  return {
    ...store,
    async openIngest(target) {
      const ingest = await store.openIngest(target);
      const wrong = new Map<PieceIndex, Uint8Array>();
      let count = 0;
      const bent: Partial<Ingest> = {
        async write(piece, bytes, options) {
          await ingest.write(piece, bytes, options);
          if (options?.sha256 !== undefined || !lies(count++)) return;
          const lie = Uint8Array.from(bytes);
          lie[7]! ^= 1;
          wrong.set(piece, lie);
        },
        async read(offset, length) {
          const bytes = await ingest.read(offset, length);
          for (const [piece, lie] of wrong) {
            const start = pieceOffset(ingest.geometry, piece);
            const end = start + pieceLength(ingest.geometry, piece);
            if (start <= offset && offset < end) bytes.set(lie.subarray(offset - start, length));
          }
          return bytes;
        },
        pieceHash(piece) {
          const lie = wrong.get(piece);
          if (lie === undefined) return ingest.pieceHash(piece);
          return createHash("sha256").update(lie).digest();
        },
      };
      return new Proxy(ingest, {
        get: (target_, key) => Reflect.get(key in bent ? bent : target_, key) as unknown,
      });
    },
  };
}

/** Takes nothing back when it is accused. */
function unrepentant(transport: PeerTransport): PeerTransport {
  return {
    ...transport,
    members: () => transport.members(),
    handle(handler) {
      transport.handle(async (peer, lane, frame, options) => {
        if (lane === "control" && decodeRequest(frame).type === "accuse")
          return [encodeReply({ type: "accused", withdrawn: false })];
        return await handler(peer, lane, frame, options);
      });
    },
  };
}

interface Site extends AsyncDisposable {
  readonly members: Member[];
  readonly transports: MemoryTransport[];
}

/** `liars` by the member's number. */
async function createSite(
  origin: Origin,
  count: number,
  liars: ReadonlyMap<number, Lie> = new Map(),
): Promise<Site> {
  const site = createMemorySite();
  const transports = Array.from({ length: count }, (_, i) => site.join(`m${i}`));
  const members = await Promise.all(
    transports.map(async (transport, i) => {
      const lies = liars.get(i);
      const store = createMemoryStore();
      return await createMember(
        origin,
        lies === undefined ? transport : unrepentant(transport),
        {},
        lies === undefined ? store : lyingStore(store, lies),
      );
    }),
  );
  await delay(150);
  return {
    members,
    transports,
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map(async (member) => await member[Symbol.asyncDispose]()));
    },
  };
}

async function pullAll(
  { members }: Site,
  blob: ReturnType<typeof addBlob>,
  liars: ReadonlyMap<number, Lie> = new Map(),
): Promise<void> {
  const pulls = members.map(async (member, i) => {
    const pull = read(member, blob.digest, blob.bytes.length);
    if (liars.has(i)) pull.catch(() => undefined);
    else expect(same(await pull, blob.bytes)).toBe(true);
  });
  await Promise.all(pulls);
}

/** Whom each of the honest members blames. */
function blamed(site: Site, liars: ReadonlyMap<number, Lie>): string[][] {
  return site.members
    .filter((_, i) => !liars.has(i))
    .map(({ swarm }) => swarm.suspects().map(({ peer }) => peer));
}

const always: Lie = () => true;
const once: Lie = (count) => count === 1;

describe("a member that signs its lies", { timeout: 60_000 }, () => {
  it.each([
    ["always", always],
    ["in a single piece", once],
  ])("is found out by ten when it lies %s, at little cost", async (_, lies) => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const blob = addBlob(origin, 32 * MIB);
    const liars = new Map([[9, lies]]);
    await using site = await createSite(origin, 10, liars);
    await pullAll(site, blob, liars);
    await delay(200);
    for (const ids of blamed(site, liars)) expect(ids).toEqual([site.transports[9]!.self]);
    expect(origin.counts.blobBytes / blob.bytes.length).toBeLessThan(1.35);
  });

  it("is found out when it is the coordinator", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const blob = addBlob(origin, 8 * MIB);
    const names = [0, 1, 2, 3];
    const ids = names.map((i) => createMemorySite().join(`m${i}`).self);
    const first = ids.indexOf(rank(ids, blob.digest)[0]!);
    const liars = new Map([[first, always]]);
    await using site = await createSite(origin, 4, liars);
    await pullAll(site, blob, liars);
    await delay(200);
    for (const found of blamed(site, liars)) expect(found).toEqual([ids[first]]);
  });

  it("is found out beside another", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const blob = addBlob(origin, 16 * MIB);
    const liars = new Map([
      [2, always],
      [5, always],
    ]);
    await using site = await createSite(origin, 6, liars);
    await pullAll(site, blob, liars);
    await delay(200);
    const guilty = [2, 5].map((i) => site.transports[i]!.self);
    for (const found of blamed(site, liars))
      for (const peer of found) expect(guilty).toContain(peer);
  });

  it("is banned for its second blob, over a restart too", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const liars = new Map([[3, always]]);
    await using site = await createSite(origin, 4, liars);
    const blobs = [addBlob(origin, 8 * MIB), addBlob(origin, 8 * MIB)];
    await Promise.all(blobs.map(async (blob) => await pullAll(site, blob, liars)));
    await delay(300);
    const liar = site.transports[3]!.self;
    const [suspect] = site.members[0]!.swarm.suspects();
    expect(suspect?.peer).toBe(liar);
    expect(suspect?.bannedUntilMs).toBeGreaterThan(Date.now() + 3_500_000);
    const { store } = site.members[0]!;
    await site.members[0]![Symbol.asyncDispose]();
    const transport = createMemorySite().join("m0");
    await using again = await createMember(origin, transport, {}, store);
    expect(again.swarm.suspects()).toEqual([suspect]);
  });
});

describe("an honest member", { timeout: 60_000 }, () => {
  it("is not blamed for a registry that sends wrong bytes", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 4 * MIB);
    const wrong = Uint8Array.from(bytes);
    wrong[3 * MIB]! ^= 1;
    origin.blobs.set(digest, wrong);
    await using site = await createSite(origin, 4);
    const pulls = site.members.map(async (member) => await read(member, digest, bytes.length));
    for (const pull of await Promise.allSettled(pulls))
      expect(pull).toMatchObject({ status: "rejected", reason: { code: "ERR_DIGEST_MISMATCH" } });
    expect(blamed(site, new Map())).toEqual([[], [], [], []]);
  });

  it("is not blamed for a manifest with a wrong size", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 4 * MIB);
    await using site = await createSite(origin, 3);
    const pulls = site.members.map(async (member) => await read(member, digest, bytes.length - 1));
    for (const pull of await Promise.allSettled(pulls)) expect(pull.status).toBe("rejected");
    expect(blamed(site, new Map())).toEqual([[], [], []]);
  });

  it("is not banned for a proxy that gives it alone wrong bytes", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const bent = createOrigin();
    bent.chunkMs = 1;
    const blobs = [addBlob(origin, 8 * MIB), addBlob(origin, 8 * MIB), addBlob(origin, 8 * MIB)];
    for (const { digest, bytes } of blobs) {
      const wrong = Uint8Array.from(bytes);
      for (let at = 5; at < wrong.length; at += 256 * 1024) wrong[at]! ^= 1;
      bent.blobs.set(digest, wrong);
    }
    const hub = createMemorySite();
    const transports = [0, 1, 2, 3].map((i) => hub.join(`m${i}`));
    const members = await Promise.all(
      transports.map(async (one, i) => await createMember(i === 3 ? bent : origin, one)),
    );
    await delay(150);
    for (const { digest, bytes } of blobs) {
      const pulls = members.map(async (member) => await read(member, digest, bytes.length));
      for (const pull of (await Promise.allSettled(pulls)).slice(0, 3))
        expect(pull.status).toBe("fulfilled");
    }
    await delay(300);
    for (const { swarm } of members)
      for (const suspect of swarm.suspects()) expect(suspect.bannedUntilMs).toBeUndefined();
    await Promise.all(members.map(async (member) => await member[Symbol.asyncDispose]()));
  });

  it("is not blamed for its rotten disk, and gives nobody what has rotted", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, 4 * MIB);
    const hub = createMemorySite();
    const store = createMemoryStore();
    const rotten: Store = {
      ...store,
      async open(wanted) {
        const handle = await store.open(wanted);
        if (handle === undefined) return undefined;
        return { ...handle, intact: async (piece) => piece !== 3 };
      },
    };
    await using holder = await createMember(origin, hub.join("a"), {}, rotten);
    await read(holder, digest, bytes.length);
    await using reader = await createMember(origin, hub.join("b"));
    await delay(200);
    expect(same(await read(reader, digest, bytes.length), bytes)).toBe(true);
    expect(reader.swarm.suspects()).toEqual([]);
    expect(origin.counts.blobBytes).toBeLessThan(bytes.length + MIB);
  });
});

describe("a proof", () => {
  it("convinces whoever has the blob, and nobody when it is forged", async () => {
    const origin = createOrigin();
    const { digest, bytes } = addBlob(origin, MIB);
    const hub = createMemorySite();
    const liar = hub.join("liar");
    liar.handle(async () => []);
    const accuser = hub.join("accuser");
    accuser.handle(async () => []);
    const has = hub.join("has");
    const lacks = hub.join("lacks");
    await using holder = await createMember(origin, has);
    await using other = await createMember(origin, lacks);
    await read(holder, digest, bytes.length);
    const sizeBytes = bytes.length;
    const notary = createNotary(liar);
    const told = async (attestation: Awaited<ReturnType<typeof notary.sign>>): Promise<void> => {
      const accusation = encodeRequest({
        type: "accuse",
        digest,
        size: sizeBytes,
        repository: "registry.test/app",
        attestation,
      });
      for (const peer of [has.self, lacks.self]) await accuser.request(peer, "control", accusation);
    };
    const piece = bytes.slice(0, 256 * 1024);
    const right = createHash("sha256").update(piece).digest();
    const truth = await notary.sign({ digest, sizeBytes }, 0 as PieceIndex, right, "upstream");
    await told(truth);
    await told({ ...truth, hashes: new Uint8Array(32) });
    expect(holder.swarm.suspects()).toEqual([]);
    const wrong = new Uint8Array(32);
    await told(await notary.sign({ digest, sizeBytes }, 0 as PieceIndex, wrong, "upstream"));
    const falseBlob = { digest, registry: "registry.test", certain: true, withdrawn: false };
    const struck = [{ peer: liar.self, strikes: 1, falseBlobs: [falseBlob] }];
    expect(holder.swarm.suspects()).toMatchObject(struck);
    expect(other.swarm.suspects()).toEqual([]);
    await read(other, digest, sizeBytes);
    await delay(50);
    expect(other.swarm.suspects()).toMatchObject(struck);

    // What is kept convinces a member that comes later.
    const comes = hub.join("comes");
    await using later = await createMember(origin, comes);
    await read(later, digest, sizeBytes);
    const [kept] = holder.swarm.suspects()[0]!.falseBlobs;
    const proof = new Uint8Array(Buffer.from(kept!.proof, "base64"));
    await accuser.request(comes.self, "control", proof);
    expect(later.swarm.suspects()).toMatchObject(struck);
  });
});
