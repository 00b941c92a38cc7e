import { type Digest, digestOf } from "@shoal/oci";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FORGET_MS, type GcItem, type GcState, planCollection } from "../src/gc/plan.ts";

const NOW = 10 * FORGET_MS;

function digest(name: string): Digest {
  return digestOf(Buffer.from(name));
}

/** Sizes and ages by name, and what each manifest names. */
function stateOf(
  blobs: Readonly<Record<string, readonly [sizeBytes: number, ageMs: number]>>,
  children: Readonly<Record<string, readonly string[]>>,
  more: {
    readonly pinned?: readonly string[];
    readonly busy?: readonly string[];
    readonly lastCopies?: readonly string[];
    readonly ingests?: Readonly<Record<string, readonly [number, number]>>;
  } = {},
): GcState {
  const items = (from: typeof blobs): Map<Digest, GcItem> =>
    new Map(
      Object.entries(from).map(([name, [sizeBytes, ageMs]]) => [
        digest(name),
        { sizeBytes, usedMs: NOW - ageMs },
      ]),
    );
  return {
    blobs: items(blobs),
    ingests: items(more.ingests ?? {}),
    children: new Map(
      Object.entries(children).map(([name, named]) => [digest(name), named.map(digest)]),
    ),
    pinned: (more.pinned ?? []).map(digest),
    busy: new Set((more.busy ?? []).map(digest)),
    lastCopies: new Set((more.lastCopies ?? []).map(digest)),
    nowMs: NOW,
  };
}

function gone(state: GcState, winBytes: number): Digest[] {
  return planCollection(state, winBytes).removals.flatMap(({ kind, digest: one, blobs }) =>
    kind === "ingest" ? [one] : [...blobs],
  );
}

describe("what goes when room is made", () => {
  const two = {
    old: [10, 2000],
    oldLayer: [100, 2000],
    base: [1000, 500],
    new: [10, 1000],
    newLayer: [100, 1000],
  } as const;
  const named = { old: ["base", "oldLayer"], new: ["base", "newLayer"] };

  it("is nothing while nothing is wanted", () => {
    expect(planCollection(stateOf(two, named), 0)).toEqual({ removals: [], wonBytes: 0 });
  });

  it("is the image that was used least recently, without the layers that another one names", () => {
    expect(gone(stateOf(two, named), 1)).toEqual(["old", "oldLayer"].map(digest));
    const { wonBytes, removals } = planCollection(stateOf(two, named), 1);
    expect(wonBytes).toBe(110);
    expect(removals[0]!.reason).toBe("least-recently-used");
  });

  it("takes the shared layers with the last image that names them", () => {
    expect(gone(stateOf(two, named), 500).sort()).toEqual(
      [...stateOf(two, named).blobs.keys()].sort(),
    );
  });

  it("spares an index that a platform's manifest of is in use", () => {
    const state = stateOf(
      { index: [1, 9000], child: [1, 10], layer: [100, 9000], other: [1, 5000], blob: [100, 5000] },
      { index: ["child", "absent"], child: ["layer"], other: ["blob"] },
    );
    expect(gone(state, 1)).toEqual(["other", "blob"].map(digest));
    expect(gone(state, 150)).toHaveLength(5);
  });

  it("spares what is pinned, with all that it names, and takes what only names it", () => {
    const state = stateOf(
      { index: [1, 9000], child: [1, 9000], layer: [100, 9000] },
      { index: ["child"], child: ["layer"] },
      { pinned: ["child"] },
    );
    expect(gone(state, 1000)).toEqual([digest("index")]);
  });

  it("spares an image of which something is read or arriving", () => {
    for (const busy of ["oldLayer", "arriving"]) {
      const state = stateOf(two, { ...named, old: [...named.old, "arriving"] }, { busy: [busy] });
      expect(gone(state, 100)).toEqual(["new", "newLayer"].map(digest));
    }
  });

  it("takes what only this machine holds after all else, but does take it", () => {
    const state = stateOf(two, named, { lastCopies: ["oldLayer"] });
    expect(gone(state, 1)).toEqual(["new", "newLayer"].map(digest));
    const { removals } = planCollection(state, 200);
    expect(removals.map(({ reason }) => reason)).toEqual(["least-recently-used", "last-copy"]);
  });

  it("drops blobs that nothing names and ingests that nobody goes on with after a day", () => {
    const state = stateOf(
      { stray: [5, FORGET_MS + 1], fresh: [5, FORGET_MS - 1] },
      {},
      { ingests: { left: [7, FORGET_MS + 1], young: [7, 1] } },
    );
    expect(gone(state, 0).sort()).toEqual(["stray", "left"].map(digest).sort());
    expect(gone(state, 15).sort()).toEqual(["stray", "left", "fresh"].map(digest).sort());
  });

  it("counts what a manifest leads to that has rotted and is wanted again as the image's", () => {
    const blobs = { layer: [5, 3 * FORGET_MS], other: [5, 3 * FORGET_MS] } as const;
    const tree = { lost: ["layer", "other"] };
    expect(gone(stateOf(blobs, tree), 0)).toEqual([]);
    expect(gone(stateOf(blobs, tree, { pinned: ["lost"] }), 100)).toEqual([]);
    expect(gone(stateOf(blobs, tree), 1)).toHaveLength(2);
  });

  it("keeps its rules whatever the store holds", () => {
    const name = fc.constantFrom(..."abcdefghijklmnop".split(""));
    const some = fc.uniqueArray(name, { maxLength: 4 });
    const world = fc.record({
      blobs: fc.dictionary(name, fc.tuple(fc.nat(1000), fc.nat(2 * FORGET_MS)), { maxKeys: 16 }),
      // A name comes before what it names: digests make no circles.
      children: fc.dictionary(name, some, { maxKeys: 8 }),
      pinned: some,
      busy: some,
      lastCopies: some,
      winBytes: fc.nat(8000),
    });
    fc.assert(
      fc.property(world, ({ blobs, children, pinned, busy, lastCopies, winBytes }) => {
        const tree = Object.fromEntries(
          Object.entries(children)
            .filter(([parent]) => parent in blobs)
            .map(([parent, named_]) => [parent, named_.filter((child) => child > parent)]),
        );
        const state = stateOf(blobs, tree, { pinned, busy, lastCopies });
        const plan = planCollection(state, winBytes);
        const removed = plan.removals.flatMap((removal) => removal.blobs);
        const removedSet = new Set(removed);
        expect(removedSet.size).toBe(removed.length);
        expect(plan.wonBytes).toBe(
          removed.reduce((sum, one) => sum + state.blobs.get(one)!.sizeBytes, 0),
        );
        // Nothing pinned or in use, nor what a pinned manifest leads to.
        const kept = new Set(state.pinned);
        for (const one of kept) for (const child of state.children.get(one) ?? []) kept.add(child);
        for (const one of removed) expect(kept.has(one) || state.busy.has(one)).toBe(false);
        const left = [...state.blobs.keys()].filter((one) => !removedSet.has(one));
        // A manifest that stays keeps all that it names; what was named does not stay alone.
        const wasNamed = new Set([...state.children.values()].flat());
        const isNamed = new Set(left.flatMap((one) => state.children.get(one) ?? []));
        for (const one of removed) expect(isNamed.has(one)).toBe(false);
        for (const one of left)
          if (wasNamed.has(one) && !kept.has(one)) expect(isNamed.has(one)).toBe(true);
        // If it fell short, what is left has a reason to stay.
        if (plan.wonBytes < winBytes) {
          const roots = left.filter((one) => !isNamed.has(one));
          for (const root of roots) {
            const below = new Set([root]);
            for (const one of below)
              for (const child of state.children.get(one) ?? []) below.add(child);
            expect([...below].some((one) => kept.has(one) || state.busy.has(one))).toBe(true);
          }
        }
        // Within a reason, the least recently used goes first.
        for (const reason of ["least-recently-used", "last-copy"]) {
          const times = plan.removals
            .filter((removal) => removal.reason === reason)
            .map(({ usedMs }) => usedMs);
          expect(times).toEqual([...times].sort((a, b) => a - b));
        }
      }),
      { numRuns: 500 },
    );
  });
});
