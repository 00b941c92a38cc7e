import { digestOf } from "@shoal/oci";
import { createBitfield, type PieceIndex } from "@shoal/store";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CoordinatorSettings, createCoordinator } from "../src/coordinator.ts";
import { testPeerId } from "../src/testing.ts";
import type { PeerIdString } from "../src/transport.ts";
import type { Sync, SyncReply, WireLease } from "../src/wire/messages.ts";

const PIECE = 256 * 1024;
const PIECES = 64;
const SIZE = PIECE * PIECES;
const digest = digestOf(Buffer.from("x"));
const [a, b, c] = ["a", "b", "c"].map(testPeerId) as [PeerIdString, PeerIdString, PeerIdString];
const nobody = { holders: new Set<PeerIdString>(), mayLease: true, alone: false };

function message(change: Partial<Sync> & { has?: number[] } = {}): Sync {
  const { has = [], ...fields } = change;
  const have = createBitfield(PIECES);
  for (const piece of has) have.set(piece as PieceIndex);
  return {
    type: "sync",
    digest,
    size: SIZE,
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

function coordinator(settings: Partial<CoordinatorSettings> = {}) {
  return createCoordinator(SIZE, { random: () => 0.5, settings });
}

function held(reply: SyncReply, done = 0): Sync["leases"] {
  return reply.leases.map((lease) => ({ ...lease, done }));
}

describe("coordinator", () => {
  it("gives a lone machine the whole blob", () => {
    const { reply } = coordinator().sync(a, message(), { ...nobody, alone: true }, 0)!;
    expect(reply.leases).toEqual([{ id: 1, epoch: 1, first: 0, end: PIECES }]);
  });

  it("names nobody that has nothing and can fetch nothing, and begins leases where that one waits", () => {
    const office = coordinator();
    const waits = message({ canFetch: false, wants: false, cursors: [40] });
    expect(office.sync(a, waits, nobody, 0)!.reply).toMatchObject({ leases: [], hope: false });
    const { reply } = office.sync(b, message(), nobody, 0)!;
    expect(reply).toMatchObject({ neighbours: [], participants: 2 });
    expect(reply.leases[0]!.first).toBe(40);
    expect(office.sync(a, waits, nobody, 1)!.reply).toMatchObject({ neighbours: [b], hope: true });
  });

  it("begins with short leases where others may come, each twice the one before", () => {
    const office = coordinator();
    const lengths: number[] = [];
    const has: number[] = [];
    for (let nowMs = 0; has.length < PIECES; nowMs += 100) {
      const [lease] = office.sync(a, message({ has }), nobody, nowMs)!.reply.leases;
      for (let piece = lease!.first; piece < lease!.end; piece++) has.push(piece);
      lengths.push(lease!.end - lease!.first);
    }
    expect(lengths).toEqual([8, 16, 32, 8]);
  });

  it("gives leases only where the participant has a use for them", () => {
    const office = coordinator();
    const { leases } = office.sync(a, message({ within: [[40, 44]] }), nobody, 0)!.reply;
    expect(leases).toMatchObject([{ first: 40, end: 44 }]);
    expect(office.sync(b, message({ within: [[40, 44]] }), nobody, 0)!.reply.leases).toEqual([]);
    expect(office.sync(b, message({ within: [] }), nobody, 0)!.reply.leases).toEqual([]);
  });

  it("lets who can't ask the upstream carry into a zone only where nobody can", () => {
    const office = coordinator();
    const unable = message({ zone: "rack", canFetch: false });
    const { reply } = office.sync(a, unable, nobody, 0)!;
    expect(reply.leases).toHaveLength(1);
    office.sync(b, message({ zone: "rack", wants: false }), nobody, 10);
    const again = { ...unable, leases: held(reply) };
    expect(office.sync(a, again, nobody, 20)!.reply.leases).toEqual([]);
    expect(coordinator().sync(a, message({ canFetch: false }), nobody, 0)!.reply.leases).toEqual(
      [],
    );
  });

  it("gives no lease while a holder is there, and names the holder", () => {
    const { reply } = coordinator().sync(a, message(), { ...nobody, holders: new Set([b]) }, 0)!;
    expect(reply).toMatchObject({ leases: [], holders: [b], hope: true });
  });

  it("gives a lease in spite of a holder that the participant does not trust", () => {
    const office = { ...nobody, holders: new Set([b]) };
    const { reply } = coordinator().sync(a, message({ excluded: [b] }), office, 0)!;
    expect(reply.holders).toEqual([]);
    expect(reply.leases).toHaveLength(1);
  });

  it("takes the tail back for a newcomer and gives it the rest", () => {
    const office = coordinator();
    const first = office.sync(a, message(), { ...nobody, alone: true }, 0)!.reply;
    const second = office.sync(b, message(), nobody, 10)!;
    expect(second.reply.leases).toEqual([]);
    expect(second.nudge).toEqual([a]);
    const shorter = office.sync(a, message({ wants: false, leases: held(first) }), nobody, 20)!;
    expect(shorter.reply.leases[0]!.end).toBeLessThan(PIECES / 2);
    const third = office.sync(b, message(), nobody, 30)!.reply;
    expect(third.leases[0]!.first).toBe(shorter.reply.leases[0]!.end);
  });

  it("gives the lost lessee's range away with what it brought left out", () => {
    const office = coordinator();
    const lease = office.sync(a, message(), { ...nobody, alone: true }, 0)!.reply;
    office.sync(a, message({ has: [0, 1, 2], leases: held(lease, 3 * PIECE) }), nobody, 500);
    office.sync(b, message({ has: [0, 1, 2] }), nobody, 600);
    office.memberDown(a);
    const { reply } = office.sync(b, message({ has: [0, 1, 2] }), nobody, 700)!;
    expect(reply.leases[0]!.first).toBe(3);
  });

  it("ends a lease that brings nothing", () => {
    const office = coordinator();
    const lease = office.sync(a, message(), nobody, 0)!.reply;
    office.sync(a, message({ leases: held(lease, 100) }), nobody, 1000);
    const stalled = office.sync(a, message({ leases: held(lease, 100) }), nobody, 400_000)!.reply;
    expect(stalled.leases).not.toContainEqual(lease.leases[0]);
  });

  it("leases a slow lessee's piece once more when nothing is open, to one member, for few pieces", () => {
    const office = coordinator({ backupShare: 1 / PIECES });
    const slow = office.sync(a, message(), nobody, 0)!.reply;
    const fast = office.sync(b, message(), nobody, 0)!.reply;
    for (let nowMs = 500; nowMs < 4000; nowMs += 500) {
      office.sync(a, message({ leases: held(slow, 4 * nowMs) }), nobody, nowMs);
      office.sync(b, message({ leases: held(fast, 500 * nowMs) }), nobody, nowMs);
    }
    const told = message({ has: Array.from({ length: PIECES - 2 }, (_, index) => index + 2) });
    office.sync(b, { ...told, wants: false }, nobody, 4000);
    const shorter = office.sync(a, message({ leases: held(slow, 16_000) }), nobody, 4010)!.reply;
    expect(shorter.leases).toMatchObject([{ first: 0, end: 2 }]);
    expect(office.sync(b, told, nobody, 4020)!.reply.leases).toMatchObject([{ first: 0, end: 1 }]);
    expect(office.sync(c, told, nobody, 4030)!.reply.leases).toEqual([]);
  });

  it("leases where a client waits before all else", () => {
    const { reply } = coordinator().sync(a, message({ cursors: [40, 30] }), nobody, 0)!;
    expect(reply.leases).toMatchObject([{ first: 30 }]);
  });

  it("hears registrations before it leases when it takes over", () => {
    const office = coordinator();
    const old: WireLease = { id: 7, epoch: 4, first: 10, end: 20 };
    const early = office.sync(a, message({ epoch: 4 }), nobody, 0)!.reply;
    expect(early).toMatchObject({ epoch: 5, leases: [] });
    const adopted = office.sync(
      b,
      message({ epoch: 4, wants: false, leases: [{ ...old, done: 0 }] }),
      nobody,
      50,
    )!.reply;
    expect(adopted.leases).toMatchObject([{ first: 10, epoch: 5 }]);
    const later = office.sync(a, message({ epoch: 5 }), nobody, 300)!.reply;
    const { first, end } = adopted.leases[0]!;
    for (const lease of later.leases) expect(lease.end <= first || lease.first >= end).toBe(true);
    expect(later.leases).toHaveLength(1);
  });

  it("tells a participant that cannot fetch whether there is hope", () => {
    const office = coordinator();
    expect(office.sync(a, message({ canFetch: false }), nobody, 0)!.reply.hope).toBe(false);
    office.sync(b, message(), nobody, 1);
    expect(office.sync(a, message({ canFetch: false }), nobody, 2)!.reply.hope).toBe(true);
  });

  it("refuses a bitfield that does not fit", () => {
    expect(coordinator().sync(a, message({ have: new Uint8Array(3) }), nobody, 0)).toBeUndefined();
  });

  it("never lets two hold the same piece, and leaves none for ever", () => {
    const peers = [a, b, c];
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(2), fc.nat(6), fc.boolean()), { minLength: 20, maxLength: 300 }),
        (steps) => {
          const office = coordinator({ backupShare: 0 });
          const state = new Map(
            peers.map((peer) => [peer, { has: new Set<number>(), leases: [] as Sync["leases"] }]),
          );
          let nowMs = 0;
          const step = (peer: PeerIdString, brings: number, wants: boolean): void => {
            nowMs += 50;
            const me = state.get(peer)!;
            for (const lease of me.leases) {
              const from = lease.first + Math.floor(lease.done / PIECE);
              const to = Math.min(lease.end, from + brings);
              for (let piece = from; piece < to; piece++) me.has.add(piece);
              lease.done = (to - lease.first) * PIECE;
            }
            me.leases = me.leases.filter(
              (lease) => lease.first * PIECE + lease.done < lease.end * PIECE,
            );
            const told = message({
              has: [...me.has],
              leases: me.leases,
              wants: wants && me.leases.length === 0,
            });
            const { reply } = office.sync(peer, told, nobody, nowMs)!;
            me.leases = reply.leases.map((lease) => ({
              ...lease,
              done: me.leases.find((old) => old.id === lease.id)?.done ?? 0,
            }));
            const all = [...state.values()].flatMap(({ leases }) => leases);
            for (const one of me.leases)
              for (const other of all)
                if (one !== other) {
                  // A lessee that has not yet heard of a shortened end may overlap what it lost.
                  const position = other.first + Math.floor(other.done / PIECE);
                  expect(one.end <= other.first || one.first > position).toBe(true);
                }
          };
          for (const [who, brings, wants] of steps) step(peers[who]!, brings, wants);
          for (let round = 0; round < 500; round++) for (const peer of peers) step(peer, 4, true);
          const arrived = new Set([...state.values()].flatMap(({ has }) => [...has]));
          expect(arrived.size).toBe(PIECES);
        },
      ),
      { numRuns: 40 },
    );
  });
});
