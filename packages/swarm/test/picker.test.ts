import { createBitfield, type PieceIndex } from "@shoal/store";
import { pieceSetFrom } from "../src/piece-set.ts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PickState, pick, type Source } from "../src/picker.ts";
import { testPeerId } from "../src/testing.ts";

function bits(length: number, set: Iterable<number>) {
  const field = createBitfield(length);
  for (const piece of set) field.set(piece as PieceIndex);
  return field;
}

function state(
  count: number,
  mine: number[],
  theirs: number[][],
  change: Partial<PickState> = {},
): PickState {
  const availability = new Uint16Array(count);
  for (const set of theirs) for (const piece of set) availability[piece]! += 1;
  const sources: Source[] = theirs.map((set, i) => ({
    peer: testPeerId(`p${i}`),
    have: pieceSetFrom(count, bits(count, set).toBytes())!,
    outstanding: 0,
    window: 8,
  }));
  return {
    pieceCount: count,
    have: bits(count, mine),
    pending: () => false,
    availability,
    cursors: [],
    sources,
    ...change,
  };
}

describe("pick", () => {
  it("takes the reader's next pieces before the rarest", () => {
    const all = [...Array(10).keys()];
    const choice = pick(
      state(10, [0, 1, 2, 3], [all, all, [9]], { cursors: [4 as PieceIndex] }),
      Math.random,
    );
    expect(choice?.piece).toBe(4);
  });

  it("goes in order where all sources are holders, once it has a few", () => {
    const all = [...Array(10).keys()];
    expect(pick(state(10, [0, 3, 5, 8], [all, all]), Math.random)?.piece).toBe(1);
  });

  it("takes the rarest when it has a few", () => {
    const choice = pick(
      state(
        10,
        [0, 1, 2, 3],
        [
          [5, 6, 7],
          [5, 6],
        ],
      ),
      Math.random,
    );
    expect(choice?.piece).toBe(7);
  });

  it("asks the least loaded of those that have the piece", () => {
    const base = state(4, [], [[1], [1]]);
    const sources = [{ ...base.sources[0]!, outstanding: 3 }, base.sources[1]!];
    expect(pick({ ...base, sources }, Math.random)?.peer).toBe(sources[1]!.peer);
  });

  it("picks only what is missing, not on its way, and had by a source with room", () => {
    const pieces = fc.uniqueArray(fc.nat(31), { maxLength: 32 });
    fc.assert(
      fc.property(
        pieces,
        pieces,
        fc.array(pieces, { maxLength: 4 }),
        fc.nat(8),
        (mine, pending, theirs, load) => {
          const base = state(32, mine, theirs, { pending: (piece) => pending.includes(piece) });
          const sources = base.sources.map((source) => ({ ...source, outstanding: load }));
          const choice = pick({ ...base, sources }, Math.random);
          const possible =
            load < 8 &&
            theirs.some((set) => set.some((p) => !mine.includes(p) && !pending.includes(p)));
          expect(choice !== undefined).toBe(possible);
          if (choice === undefined) return;
          expect(mine.includes(choice.piece) || pending.includes(choice.piece)).toBe(false);
          expect(sources.find(({ peer }) => peer === choice.peer)!.have.has(choice.piece)).toBe(
            true,
          );
        },
      ),
    );
  });
});
