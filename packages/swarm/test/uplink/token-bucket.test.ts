import fc from "fast-check";
import { expect, it } from "vitest";
import { createTokenBucket } from "../../src/uplink/token-bucket.ts";

const step = fc.record({
  passMs: fc.nat(2000),
  rate: fc.option(fc.nat(50_000_000), { nil: undefined }),
  mostBytes: fc.integer({ min: 1, max: 20_000_000 }),
  spend: fc.boolean(),
});

it("never gives more than its rates have brought", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const bucket = createTokenBucket();
      let nowMs = 5;
      let rate = 0;
      let earned = 0;
      let taken = 0;
      for (const { passMs, rate: next, mostBytes } of steps) {
        nowMs += passMs;
        earned += (rate * passMs) / 1000;
        const got = bucket.take(mostBytes, nowMs);
        expect(got).toBeLessThanOrEqual(mostBytes);
        taken += got;
        expect(taken).toBeLessThanOrEqual(earned + 1);
        if (next !== undefined) bucket.setRate((rate = next), nowMs);
      }
    }),
  );
});

it("gives something once the time that it names has passed", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1000, max: 500_000_000 }),
      fc.integer({ min: 1, max: 20_000_000 }),
      (rate, mostBytes) => {
        const bucket = createTokenBucket();
        bucket.setRate(rate, 0);
        expect(bucket.take(mostBytes, 0)).toBe(0);
        const waitMs = bucket.waitMs(mostBytes, 0);
        expect(bucket.take(mostBytes, waitMs + 1)).toBeGreaterThan(0);
      },
    ),
  );
});

it("waits for ever at a rate of nothing, and owes what was spent in advance", () => {
  const bucket = createTokenBucket();
  expect(bucket.waitMs(1, 0)).toBe(Number.POSITIVE_INFINITY);
  bucket.setRate(1000, 0);
  bucket.spend(500, 0);
  expect(bucket.debtMs(0)).toBe(500);
  expect(bucket.debtMs(500)).toBe(0);
});
