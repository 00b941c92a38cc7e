import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createEventQueue } from "../../src/simulator/event-queue.ts";
import { createFairLinks } from "../../src/simulator/fair-links.ts";
import { seededRandom } from "../../src/simulator/random.ts";

/** Textbook progressive filling: the tightest link of all settles its flows, then the next (Bertsekas and Gallager 1992, 6.5.2). */
function textbook(rates: readonly number[], flows: readonly (readonly number[])[]): number[] {
  const settled: (number | undefined)[] = flows.map(() => undefined);
  while (settled.includes(undefined)) {
    let tightest = { link: -1, share: Number.POSITIVE_INFINITY };
    for (const [link, rate] of rates.entries()) {
      let left = rate;
      let open = 0;
      for (const [flow, over] of flows.entries()) {
        if (!over.includes(link)) continue;
        if (settled[flow] === undefined) open += 1;
        left -= settled[flow] ?? 0;
      }
      if (open > 0 && left / open < tightest.share) tightest = { link, share: left / open };
    }
    for (const [flow, over] of flows.entries())
      if (settled[flow] === undefined && over.includes(tightest.link))
        settled[flow] = tightest.share;
  }
  return settled as number[];
}

/** @returns when each flow ended */
async function run(
  stepMs: number,
  rates: readonly number[],
  flows: readonly { over: readonly number[]; bytes: number; atMs: number }[],
): Promise<number[]> {
  const queue = createEventQueue();
  const links = createFairLinks(queue, stepMs);
  for (const rate of rates) links.add(rate);
  const ends: number[] = [];
  for (const [index, { over, bytes, atMs }] of flows.entries())
    queue.at(atMs, () =>
      links.start(over, bytes, () => {
        ends[index] = queue.now();
        return 0;
      }),
    );
  await queue.run(() => Object.keys(ends).length === flows.length, 1e9);
  return ends;
}

describe("fair links", () => {
  it("share as textbook filling does", async () => {
    const twoLinks = fc.tuple(fc.nat(4), fc.integer({ min: 5, max: 9 }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 10, maxLength: 10 }),
        fc.array(twoLinks, { minLength: 1, maxLength: 20 }),
        async (rates, flows) => {
          const queue = createEventQueue();
          const links = createFairLinks(queue, 0);
          for (const rate of rates) links.add(rate);
          const started = flows.map((over) => links.start(over, 1e9, () => 0));
          let over = false;
          queue.at(1, () => {
            over = true;
          });
          await queue.run(() => over, 2);
          for (const [index, rate] of textbook(rates, flows).entries())
            expect(started[index]!.passed()).toBeCloseTo(rate, 6);
        },
      ),
      { numRuns: 100 },
    );
  });

  it("end flows in small steps when exact sharing does", async () => {
    const random = seededRandom(7);
    const rates = Array.from({ length: 12 }, () => 100);
    const flows = Array.from({ length: 200 }, () => ({
      over: [Math.floor(random() * 6), 6 + Math.floor(random() * 6)],
      bytes: 1000,
      atMs: random() * 100,
    }));
    const exact = await run(0, rates, flows);
    const stepped = await run(0.1, rates, flows);
    const mean = (ends: readonly number[]): number =>
      ends.reduce((sum, end, index) => sum + end - flows[index]!.atMs, 0) / ends.length;
    expect(mean(stepped) / mean(exact)).toBeGreaterThan(0.99);
    expect(mean(stepped) / mean(exact)).toBeLessThan(1.02);
    expect(Math.max(...stepped) / Math.max(...exact)).toBeLessThan(1.02);
  });

  it("count what a cancelled flow has carried, and give its share to the others", async () => {
    const queue = createEventQueue();
    const links = createFairLinks(queue, 0);
    const link = links.add(10);
    const first = links.start([link], 100, () => 0);
    let endMs = 0;
    links.start([link], 100, () => {
      endMs = queue.now();
      return 0;
    });
    queue.at(10, () => first.cancel());
    await queue.run(() => endMs > 0, 1000);
    expect(first.passed()).toBe(50);
    expect(endMs).toBe(15);
    expect(links.passed(link)).toBe(150);
  });

  it("carry on a flow whose bytes go on without a gap", async () => {
    const queue = createEventQueue();
    const links = createFairLinks(queue, 7);
    const link = links.add(10);
    let chunks = 0;
    links.start([link], 100, () => (++chunks < 10 ? 100 : 0));
    await queue.run(() => chunks === 10, 1000);
    expect(queue.now()).toBeCloseTo(107);
  });
});

describe("event queue", () => {
  it("runs events in order, each with the promises it settles, and none that was taken back", async () => {
    const queue = createEventQueue();
    const seen: string[] = [];
    queue.schedule(5, () => seen.push("second"));
    queue.schedule(1, () => {
      void (async () => {
        for (let turn = 0; turn < 100; turn++) await Promise.resolve();
        seen.push("first");
      })();
    });
    queue.schedule(3, () => seen.push("never"))[Symbol.dispose]();
    queue.schedule(5, () => seen.push("third"));
    await queue.run(() => seen.length === 3, 10);
    expect(seen).toEqual(["first", "second", "third"]);
    expect(queue.now()).toBe(5);
  });

  it("says when nothing is left to run", async () => {
    await expect(createEventQueue().run(() => false, 10)).rejects.toThrow("does not end");
  });
});
