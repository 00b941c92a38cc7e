import fc from "fast-check";
import { expect, test } from "vitest";
import { backOffDelayMs } from "../src/retry.ts";

test("backOffDelayMs doubles within bounds", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 30 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (failures, chance) => {
        const delayMs = backOffDelayMs(200, failures, () => chance);
        const fullMs = Math.min(5000, 200 * 2 ** (failures - 1));
        expect(delayMs).toBeGreaterThanOrEqual(fullMs / 2);
        expect(delayMs).toBeLessThanOrEqual(fullMs);
      },
    ),
  );
});
