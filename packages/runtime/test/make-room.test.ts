import { describe, expect, it } from "vitest";
import { keepNewest, makeRoom } from "../src/index.ts";

describe("makeRoom", () => {
  it("lets the oldest go until one more fits", () => {
    const cache = new Map([1, 2, 3, 4].map((key) => [key, "value"]));
    makeRoom(cache, 3);
    expect([...cache.keys()]).toEqual([3, 4]);
    makeRoom(cache, 3);
    expect(cache.size).toBe(2);
  });

  it("takes who was added again for new", () => {
    const cache = new Set(["a", "b"]);
    cache.delete("a");
    cache.add("a");
    makeRoom(cache, 2);
    expect([...cache]).toEqual(["a"]);
  });
});

describe("keepNewest", () => {
  it("takes who was kept before for new, and lets the oldest go", () => {
    const cache = new Map([
      ["a", 1],
      ["b", 2],
    ]);
    keepNewest(cache, "a", 3, 2);
    keepNewest(cache, "c", 4, 2);
    expect([...cache]).toEqual([
      ["a", 3],
      ["c", 4],
    ]);
  });
});
