import { describe, expect, it } from "vitest";
import { type Situation, simulate } from "../../src/testing.ts";

const MIB = 1024 * 1024;
const gigabit = 125_000_000;

function situation(change: Partial<Situation> = {}): Situation {
  return {
    members: 10,
    sizeBytes: 16 * MIB,
    uplinkBytesPerSecond: gigabit,
    lanBytesPerSecond: gigabit,
    latencyMs: 0.5,
    withinMs: 0,
    seed: 1,
    ...change,
  };
}

describe("members under the simulator", () => {
  it("fetch one copy, fifty at once", { timeout: 60_000 }, async () => {
    const result = await simulate(situation({ members: 50 }));
    expect(result.finished).toBe(50);
    expect(result.egressRatio).toBeLessThanOrEqual(1.02);
    expect(result.egressRatio).toBeGreaterThanOrEqual(1);
  });

  it("bring each piece into a rack once, two of five", { timeout: 60_000 }, async () => {
    const mbit = 125_000;
    const result = await simulate(
      situation({
        uplinkBytesPerSecond: 50 * mbit,
        lanBytesPerSecond: 200 * mbit,
        racks: { count: 2, bytesPerSecond: 100 * mbit },
      }),
    );
    expect(result.rackRatio).toBeLessThanOrEqual(1.05);
    expect(result.egressRatio).toBeLessThanOrEqual(1.02);
    expect(result.boundRatio).toBeLessThanOrEqual(1.2);
  });

  it("do the same for the same seed, and other things for another", {
    timeout: 60_000,
  }, async () => {
    const first = await simulate(situation());
    expect(await simulate(situation())).toEqual(first);
    expect(await simulate(situation({ seed: 2 }))).not.toEqual(first);
  });

  it("are all done, though more would be neighbours than a member takes", {
    timeout: 60_000,
  }, async () => {
    const result = await simulate(situation({ members: 120, sizeBytes: 4 * MIB }));
    expect(result.finished).toBe(120);
    expect(result.egressRatio).toBeLessThanOrEqual(1.02);
    // Whose neighbours tell it nothing would wait for a minute.
    expect(result.makespanSeconds).toBeLessThan(2);
  });

  it("are done though the coordinator dies", { timeout: 60_000 }, async () => {
    const result = await simulate(
      situation({ sizeBytes: 64 * MIB, kill: [{ whom: "coordinator", atShare: 0.3 }] }),
    );
    expect(result.finished).toBe(9);
    expect(result.egressRatio).toBeLessThanOrEqual(1.05);
  });
});
