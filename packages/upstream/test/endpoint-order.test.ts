import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type EndpointState, measure, orderEndpoints, type Pace } from "../src/endpoint-order.ts";

const NOW = 10_000_000;
const AWAKE = Number.NEGATIVE_INFINITY;
const MINUTE = 60_000;

const pace = fc.record({
  firstByteMs: fc.integer({ min: 1, max: 30_000 }),
  atMs: fc.integer({ min: 0, max: NOW }),
});
const state = fc.record({
  pace: fc.option(pace, { nil: undefined }),
  asking: fc.boolean(),
  restUntilMs: fc.oneof(fc.constant(AWAKE), fc.integer({ min: 0, max: 2 * NOW })),
});
const states = fc.array(state, { maxLength: 8 });
const anyOrder = fc.constantFrom("listed" as const, "fastest" as const);
const rests = ({ restUntilMs }: EndpointState): boolean => restUntilMs > NOW;
const awake = (firstByteMs?: number, atMs = NOW, asking = false): EndpointState => ({
  ...(firstByteMs === undefined ? {} : { pace: { firstByteMs, atMs } }),
  asking,
  restUntilMs: AWAKE,
});

describe("orderEndpoints", () => {
  test("names each once, those that rest last, the one that has rested most first of them", () => {
    fc.assert(
      fc.property(states, anyOrder, (all, order) => {
        const ordered = orderEndpoints(all, order, NOW);
        expect([...ordered].sort((a, b) => a - b)).toEqual([...all.keys()]);
        const resting = ordered.map((at) => rests(all[at]!));
        expect(resting).toEqual([...resting].sort((a, b) => Number(a) - Number(b)));
        const ends = ordered.map((at) => all[at]!.restUntilMs).filter((end) => end > NOW);
        expect(ends).toEqual([...ends].sort((a, b) => a - b));
      }),
    );
  });

  test("keeps to the list where that is asked for, and among equals", () => {
    fc.assert(
      fc.property(states, (all) => {
        const awakeOnes = [...all.keys()].filter((at) => !rests(all[at]!));
        expect(orderEndpoints(all, "listed", NOW).slice(0, awakeOnes.length)).toEqual(awakeOnes);
        const same = all.map(() => awake(20));
        expect(orderEndpoints(same, "fastest", NOW)).toEqual([...all.keys()]);
      }),
    );
  });

  test("puts the faster of two that were measured at the same time first", () => {
    fc.assert(
      fc.property(pace, pace, fc.boolean(), (a, b, asking) => {
        const order = orderEndpoints(
          [awake(a.firstByteMs, a.atMs, asking), awake(b.firstByteMs, a.atMs, asking)],
          "fastest",
          NOW,
        );
        expect(order).toEqual(b.firstByteMs < a.firstByteMs ? [1, 0] : [0, 1]);
      }),
    );
  });

  test("tries one that is not measured first, by one question at a time", () => {
    fc.assert(
      fc.property(fc.array(pace, { minLength: 1, maxLength: 5 }), (paces) => {
        const measured = paces.map(({ firstByteMs, atMs }) => awake(firstByteMs, atMs));
        const fresh = orderEndpoints([...measured, awake()], "fastest", NOW);
        expect(fresh[0]).toBe(measured.length);
        const tried = orderEndpoints([awake(undefined, 0, true), ...measured], "fastest", NOW);
        expect(tried.at(-1)).toBe(0);
      }),
    );
  });

  test("measures a slow one again after a while, the slower the later", () => {
    const againAfter = (slowMs: number): number => {
      for (let afterMs = 0; ; afterMs += MINUTE) {
        const both = [awake(20, NOW + afterMs), awake(slowMs, NOW)];
        if (orderEndpoints(both, "fastest", NOW + afterMs)[0] === 1) return afterMs;
      }
    };
    expect([againAfter(45), againAfter(200), againAfter(20_000)]).toEqual([
      6 * MINUTE,
      17 * MINUTE,
      50 * MINUTE,
    ]);
  });

  test("leaves a slow one alone while the question that measures it again is under way", () => {
    const all = [awake(20), awake(200, NOW - 60 * MINUTE, true)];
    expect(orderEndpoints(all, "fastest", NOW)).toEqual([0, 1]);
  });
});

describe("measure", () => {
  const took = fc.integer({ min: 0, max: 30_000 });
  test("lies between what was known and what is new, and is of now", () => {
    fc.assert(
      fc.property(fc.option(pace, { nil: undefined }), took, (before, tookMs) => {
        const after = measure(before, tookMs, NOW);
        const known = before?.firstByteMs ?? tookMs;
        expect(after.firstByteMs).toBeGreaterThanOrEqual(Math.min(known, tookMs) - 1e-6);
        expect(after.firstByteMs).toBeLessThanOrEqual(Math.max(known, tookMs) + 1e-6);
        expect(after.atMs).toBe(NOW);
      }),
    );
  });

  test("bears one outlier, and follows what lasts", () => {
    let now: Pace = measure(undefined, 20, 0);
    now = measure(now, 120, 1000);
    expect(now.firstByteMs).toBeLessThan(60);
    for (let at = 2; at < 20; at += 1) now = measure(now, 120, at * 1000);
    expect(now.firstByteMs).toBeGreaterThan(115);
  });

  test("forgets what is old", () => {
    expect(measure({ firstByteMs: 10_000, atMs: 0 }, 20, 100 * MINUTE).firstByteMs).toBeLessThan(
      21,
    );
  });
});
