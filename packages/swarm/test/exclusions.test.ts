import { describe, expect, it } from "vitest";
import { createExclusions } from "../src/exclusions.ts";
import { testPeerId } from "../src/testing.ts";

const [a, b, c] = [testPeerId("a"), testPeerId("b"), testPeerId("c")];

describe("exclusions", () => {
  it("keep from who does not deliver, but not from what it vouches for", () => {
    const exclusions = createExclusions(() => true);
    exclusions.exclude(a);
    expect([exclusions.takesFrom(a), exclusions.believes(a)]).toEqual([false, true]);
    expect([exclusions.takesFrom(b), exclusions.believes(b)]).toEqual([true, true]);
  });

  it("take back whom they have mistrusted, but nobody else", () => {
    const exclusions = createExclusions((peer) => peer !== c);
    exclusions.exclude(a);
    exclusions.refuse(b);
    expect([exclusions.takesFrom(b), exclusions.believes(b)]).toEqual([false, false]);
    exclusions.forgive();
    expect([exclusions.takesFrom(b), exclusions.believes(b)]).toEqual([true, true]);
    expect([...exclusions.peers]).toEqual([a]);
    expect([exclusions.takesFrom(c), exclusions.believes(c)]).toEqual([false, false]);
  });
});
