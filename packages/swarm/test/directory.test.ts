import { digestOf } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { createBitfield, createMemoryStore, type PieceIndex } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createDirectory } from "../src/directory.ts";
import { testPeerId } from "../src/testing.ts";
import type { PeerIdString } from "../src/transport.ts";
import type { Sync } from "../src/wire/messages.ts";

const PIECES = 64;
const size = PIECES * 256 * 1024;
const digest = digestOf(Buffer.from("x"));
const [self, a, b] = ["self", "a", "b"].map(testPeerId) as [
  PeerIdString,
  PeerIdString,
  PeerIdString,
];

function directory() {
  const done = async (): Promise<never> => ({ type: "done" }) as never;
  return createDirectory({
    transport: { self, members: () => [a, b] },
    peers: { ask: done, block: done, prepare() {} },
    store: createMemoryStore(),
    clock: createManualClock(),
    random: () => 0.5,
    audits: { sync: async () => undefined },
    conduct: { mayLease: () => true, trusts: () => true },
    logger: silentLogger,
    gives: () => true,
  });
}

function message(has: number, leaving = false): Sync {
  const have = createBitfield(PIECES);
  for (let piece = 0; piece < has; piece++) have.set(piece as PieceIndex);
  return {
    type: "sync",
    digest,
    size,
    repository: "docker.io/library/alpine",
    canFetch: true,
    have: have.toBytes(),
    leases: [],
    wants: !leaving,
    cursors: [],
    epoch: 0,
    excluded: [],
    passedOver: [a, b],
    leaving,
  };
}

describe("directory", () => {
  it("takes who leaves with the whole blob for a holder, before it announces it", async () => {
    const site = directory();
    await site.sync(a, message(PIECES, true));
    const reply = await site.sync(b, message(0));
    expect(reply).toMatchObject({ holders: [a], leases: [] });
    site.announce(a, { type: "announce", held: [], gone: [digest], complete: false });
    expect((await site.sync(b, message(0))).holders).toEqual([]);
  });

  it("forgets who leaves with less", async () => {
    const site = directory();
    await site.sync(a, message(PIECES - 1, true));
    const reply = await site.sync(b, message(0));
    expect(reply.holders).toEqual([]);
    expect(reply.leases).toHaveLength(1);
  });
});
