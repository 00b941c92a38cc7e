import { describe, expect, it } from "vitest";
import { runTarget } from "./run-target.ts";
import { FUZZ_TARGETS } from "./targets.ts";

/** A parser's share of the short run. Milliseconds. */
const FOR_MS = 120;

describe("hostile input", () => {
  it.each(FUZZ_TARGETS)(
    "to $name gives a value or a refusal, soon",
    { timeout: 60_000 },
    async (target) => {
      const seed = Math.floor(Math.random() * 2 ** 32);
      const { findings, runs, accepted } = await runTarget(target, {
        runs: 20_000,
        seed,
        forMs: FOR_MS,
        mostFindings: 1,
      });
      const told = findings.map(({ problem, input, error }) => ({
        problem,
        error,
        input: Buffer.from(input.subarray(0, 2000)).toString("base64"),
      }));
      expect(told, `seed ${seed}`).toEqual([]);
      expect(runs).toBeGreaterThan(20);
      expect(accepted > 0, "examples are valid").toBe(target.neverAccepts !== true);
    },
  );

  it("is of each parser once", () => {
    const names = FUZZ_TARGETS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
