import { describe, expect, it } from "vitest";
import { createSyncBudget } from "../src/sync-budget.ts";
import { testPeerId } from "../src/testing.ts";

const [a, b] = [testPeerId("a"), testPeerId("b")];

describe("the budget of registrations", () => {
  it("has room for so many registrations of a member, and as many pieces, and for others still", () => {
    const budget = createSyncBudget({ registrations: 3, pieces: 100 });
    expect(["x", "y", "z", "w"].map((key) => budget.take(a, key, 10, 0))).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect(budget.take(b, "w", 101, 0)).toBe(false);
    expect(budget.take(b, "w", 100, 0)).toBe(true);
    expect(budget.take(b, "x", 1, 0)).toBe(false);
  });

  it("counts each once, however often it is heard of, and no more when it has left or fallen silent", () => {
    const budget = createSyncBudget({ registrations: 1, pieces: 100 });
    for (let nowMs = 0; nowMs < 300_000; nowMs += 20_000)
      expect(budget.take(a, "x", 90, nowMs)).toBe(true);
    expect(budget.take(a, "y", 1, 300_000)).toBe(false);
    budget.leave(a, "x");
    expect(budget.take(a, "y", 1, 300_000)).toBe(true);
    expect(budget.take(a, "z", 1, 360_000)).toBe(false);
    expect(budget.take(a, "z", 1, 360_001)).toBe(true);
    budget.forget(a);
    expect(budget.take(a, "x", 100, 360_001)).toBe(true);
  });

  it("has room for all that a machine pulls, by default", () => {
    const budget = createSyncBudget();
    const taken = Array.from({ length: 1001 }, (_, i) => budget.take(a, String(i), 4000, 0));
    expect(taken.indexOf(false)).toBe(1000);
    expect(budget.take(b, "x", 4 * 1024 * 1024, 0)).toBe(true);
  });
});
