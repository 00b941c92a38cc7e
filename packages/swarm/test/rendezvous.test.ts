import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rank } from "../src/rendezvous.ts";
import { testPeerId } from "../src/testing.ts";

const members = Array.from({ length: 20 }, (_, i) => testPeerId(`member-${i}`));

describe("rank", () => {
  it("is the same whichever order the members are seen in", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(members, { minLength: 2 }), fc.string(), (some, key) => {
        expect(rank(some, key)).toEqual(rank(some.toReversed(), key));
      }),
    );
  });

  it("moves only the keys that a lost member ranked first for", () => {
    fc.assert(
      fc.property(fc.string(), (key) => {
        const [first, second] = rank(members, key);
        const others = members.filter((peer) => peer !== first);
        expect(rank(others, key)[0]).toBe(second);
      }),
    );
  });

  it("spreads keys evenly", () => {
    const first = new Map<string, number>();
    for (let i = 0; i < 4000; i++) {
      const peer = rank(members, `key-${i}`)[0]!;
      first.set(peer, (first.get(peer) ?? 0) + 1);
    }
    for (const count of first.values()) expect(count).toBeGreaterThan(120);
    expect(first.size).toBe(20);
  });
});
