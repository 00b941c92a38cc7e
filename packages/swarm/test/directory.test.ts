import { digestOf } from "@shoal/oci";
import { createBitfield, type PieceIndex } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { testPeerId } from "../src/testing.ts";
import type { PeerIdString } from "../src/transport.ts";
import type { Sync } from "../src/wire/messages.ts";
import { createTestDirectory } from "./support.ts";

const PIECES = 64;
const size = PIECES * 256 * 1024;
const digest = digestOf(Buffer.from("x"));
const [a, b] = ["a", "b"].map(testPeerId) as [PeerIdString, PeerIdString];

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
    const site = createTestDirectory([a, b]);
    await site.sync(a, message(PIECES, true));
    const reply = await site.sync(b, message(0));
    expect(reply).toMatchObject({ holders: [a], leases: [] });
    site.announce(a, { type: "announce", held: [], gone: [digest], complete: false });
    expect((await site.sync(b, message(0))).holders).toEqual([]);
  });

  it("forgets who leaves with less", async () => {
    const site = createTestDirectory([a, b]);
    await site.sync(a, message(PIECES - 1, true));
    const reply = await site.sync(b, message(0));
    expect(reply.holders).toEqual([]);
    expect(reply.leases).toHaveLength(1);
  });
});
