import { describe, expect, it } from "vitest";
import { makeRoom } from "../src/index.ts";

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
