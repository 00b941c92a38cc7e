import { setTimeout as delay } from "node:timers/promises";
import { digestOf } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { createBitfield, createMemoryStore, type PieceIndex } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createDirectory, type Directory } from "../src/directory.ts";
import { decodeReply, encodeRequest, type PeerTransport, rank } from "../src/index.ts";
import { createMemorySite, testPeerId } from "../src/testing.ts";
import type { PeerIdString } from "../src/transport.ts";
import type { Sync } from "../src/wire/messages.ts";
import { addBlob, createMember, createOrigin, read, same } from "./support.ts";

const PIECES = 64;
const MIB = 1024 * 1024;
const digest = digestOf(Buffer.from("x"));
const self = testPeerId("self");
const [attacker, honest, victim, outsider] = ["attacker", "honest", "victim", "outsider"].map(
  testPeerId,
) as [PeerIdString, PeerIdString, PeerIdString, PeerIdString];

function message(change: Partial<Sync> & { has?: number } = {}): Sync {
  const { has = 0, ...fields } = change;
  const have = createBitfield(PIECES);
  for (let piece = 0; piece < has; piece++) have.set(piece as PieceIndex);
  return {
    type: "sync",
    digest,
    size: PIECES * 256 * 1024,
    repository: "docker.io/library/alpine",
    canFetch: true,
    have: have.toBytes(),
    leases: [],
    wants: true,
    cursors: [],
    epoch: 0,
    excluded: [],
    passedOver: [],
    leaving: false,
    ...fields,
  };
}

interface Scene {
  readonly directory: Directory;
  readonly members: PeerIdString[];
  /** Whom audits were heard of. */
  readonly audited: PeerIdString[];
}

/** A coordinator, which can't hear `outsider`. */
function scene(trusts: (peer: PeerIdString) => boolean = () => true): Scene {
  const members = [attacker, honest, victim];
  const audited: PeerIdString[] = [];
  const done = async (): Promise<never> => ({ type: "done" }) as never;
  const directory = createDirectory({
    transport: { self, members: () => members },
    peers: { ask: done, block: done, prepare() {} },
    store: createMemoryStore(),
    clock: createManualClock(),
    random: () => 0.5,
    audits: {
      async sync(from) {
        audited.push(from);
        return undefined;
      },
    },
    conduct: { mayLease: trusts, trusts },
    logger: silentLogger,
    gives: () => true,
  });
  return { directory, members, audited };
}

/** All that are asked first have been passed over: the message is this machine's to answer. */
const here = { passedOver: [attacker, honest, victim] };

describe("a member that speaks for others", () => {
  it("is refused for those that can speak for themselves, the coordinator included", async () => {
    const { directory } = scene();
    const mine = await directory.sync(victim, message(here));
    for (const origin of [victim, self, attacker])
      for (const change of [{ leaving: true }, { has: PIECES }, { canFetch: false }])
        await expect(
          directory.sync(attacker, message({ ...change, origin })),
        ).rejects.toMatchObject({ code: "ERR_MESSAGE" });
    const leases = mine.leases.map((lease) => ({ ...lease, done: 0 }));
    const after = await directory.sync(victim, message({ ...here, leases }));
    expect(after.leases).toEqual(mine.leases);
    expect(after.leases).not.toEqual([]);
    const seen = await directory.sync(honest, message(here));
    expect(seen).toMatchObject({ holders: [], neighbours: [victim] });
  });

  it("makes nobody a holder by saying that it leaves with the blob", async () => {
    const { directory } = scene();
    await directory.sync(attacker, message({ has: PIECES, leaving: true, origin: outsider }));
    const seen = await directory.sync(honest, message(here));
    expect(seen).toMatchObject({ holders: [], neighbours: [] });
    expect(seen.leases).not.toEqual([]);
  });

  it("changes nothing of what others tell of the same one, or it itself", async () => {
    const { directory, members } = scene();
    const told = await directory.sync(honest, message({ origin: outsider }));
    expect(told.leases).not.toEqual([]);
    for (const change of [{ leaving: true }, { has: PIECES }])
      await expect(
        directory.sync(attacker, message({ ...change, origin: outsider })),
      ).rejects.toMatchObject({ code: "ERR_MESSAGE" });
    members.push(outsider);
    const leases = told.leases.map((lease) => ({ ...lease, done: 0 }));
    const own = await directory.sync(outsider, message({ ...here, leases }));
    expect(own.leases).toEqual(told.leases);
  });

  it("speaks for a few of one blob, and they are gone with it", async () => {
    const { directory } = scene();
    const others = Array.from({ length: 9 }, (_, i) => testPeerId(`o${i}`));
    for (const origin of others.slice(0, 8))
      await directory.sync(attacker, message({ has: PIECES, origin }));
    await expect(directory.sync(attacker, message({ origin: others[8]! }))).rejects.toMatchObject({
      code: "ERR_MESSAGE",
    });
    expect((await directory.sync(honest, message(here))).participants).toBe(9);
    directory.memberDown(attacker);
    const seen = await directory.sync(honest, message(here));
    expect(seen).toMatchObject({ participants: 1, neighbours: [] });
    expect(seen.leases).not.toEqual([]);
  });

  it("is left out with all of them by who takes nothing from it", async () => {
    const { directory } = scene();
    await directory.sync(attacker, message({ has: PIECES, origin: outsider }));
    const seen = await directory.sync(honest, message({ ...here, excluded: [attacker] }));
    expect(seen.neighbours).toEqual([]);
    expect(seen.leases).not.toEqual([]);
  });

  it("is heard for nobody when it is banned, and by no audit", async () => {
    const banned = scene((peer) => peer !== attacker);
    await expect(
      banned.directory.sync(attacker, message({ origin: outsider })),
    ).rejects.toMatchObject({ code: "ERR_MESSAGE" });
    const { directory, audited } = scene();
    await directory.sync(attacker, message({ origin: outsider }));
    await directory.sync(honest, message(here));
    expect(audited).toEqual([honest]);
  });
});

/** A site in which two members can't hear each other. */
function apart(transport: PeerTransport, other: PeerIdString): PeerTransport {
  return {
    ...transport,
    members: () => transport.members().filter((peer) => peer !== other),
    on: (type, listener) =>
      transport.on(type, (peer) => {
        if (peer !== other) listener(peer);
      }),
  };
}

describe("a member of a site", { timeout: 20_000 }, () => {
  it("refuses one that names another as the origin of its message", async () => {
    const site = createMemorySite();
    const origin = createOrigin();
    const rogue = site.join("rogue");
    rogue.handle(async () => []);
    const transports = ["a", "b"].map((name) => site.join(name));
    await using member = await createMember(origin, transports[0]);
    await using _other = await createMember(origin, transports[1]);
    await delay(150);
    const named = encodeRequest(
      message({ has: PIECES, leaving: true, origin: transports[1]!.self }),
    );
    const reply = decodeReply(await rogue.request(transports[0]!.self, "control", named));
    expect(reply).toEqual({ type: "refused", code: "ERR_MESSAGE" });
    expect(member.swarm.suspects()).toEqual([]);
  });

  it("passes on what one tells that the coordinator can't hear, and one copy is fetched", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1;
    const blob = addBlob(origin, 8 * MIB);
    const hub = createMemorySite();
    const transports = ["a", "b", "c"].map((name) => hub.join(name));
    const order = rank(
      transports.map(({ self: peer }) => peer),
      blob.digest,
    );
    const [first, between, last] = order.map(
      (peer) => transports.find((transport) => transport.self === peer)!,
    );
    const members = await Promise.all([
      createMember(origin, apart(first!, last!.self)),
      createMember(origin, between),
      createMember(origin, apart(last!, first!.self)),
    ]);
    await delay(150);
    const pulls = members.map(async (member) => await read(member, blob.digest, blob.bytes.length));
    for (const got of await Promise.all(pulls)) expect(same(got, blob.bytes)).toBe(true);
    expect(origin.counts.blobBytes / blob.bytes.length).toBeLessThan(1.1);
    await Promise.all(members.map(async (member) => await member[Symbol.asyncDispose]()));
  });
});
