import fc from "fast-check";
import { expect, it } from "vitest";
import { createAttempts } from "../../src/site/attempts.ts";

it("takes a burst and then one more in each interval, for every key by itself", () => {
  const attempts = createAttempts({ burst: 3, everyMs: 1000 });
  const taken = (key: string, atMs: number): number =>
    [1, 2, 3, 4, 5].filter(() => attempts.take(key, atMs)).length;
  expect([taken("a", 0), taken("b", 0), taken("a", 999), taken("a", 1000)]).toEqual([3, 3, 0, 1]);
  expect(taken("a", 60_000)).toBe(3);
});

it("never takes more in any time than its limits allow", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 60 }), (gaps) => {
      const attempts = createAttempts({ burst: 4, everyMs: 500 });
      let nowMs = 0;
      const takenMs: number[] = [];
      for (const gapMs of gaps) {
        nowMs += gapMs;
        if (attempts.take("key", nowMs)) takenMs.push(nowMs);
      }
      for (const [i, fromMs] of takenMs.entries())
        for (const [j, toMs] of takenMs.entries())
          if (j >= i) expect(j - i + 1).toBeLessThanOrEqual(4 + (toMs - fromMs) / 500);
    }),
  );
});
