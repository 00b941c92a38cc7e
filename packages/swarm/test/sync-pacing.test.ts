import { describe, expect, it } from "vitest";
import { retryMs } from "../src/sync-pacing.ts";

const limits = { syncMs: 500, stalledMs: 2000 };
const half = { heldShare: 0.5, participants: 10 };

describe("when to ask again", () => {
  it("is soon for a lessee: fifty times until the end, at least twice before it counts as stalled", () => {
    expect(retryMs(true, { ...half, elapsedMs: 1000 }, limits)).toBe(500);
    expect(retryMs(true, { ...half, elapsedMs: 20_000 }, limits)).toBe(800);
    expect(retryMs(true, { ...half, elapsedMs: 500_000 }, limits)).toBe(1000);
  });

  it("is later for others the more they are, up to 20 s", () => {
    const early = { heldShare: 0.5, elapsedMs: 500 };
    expect(retryMs(false, { ...early, participants: 10 }, limits)).toBe(500);
    expect(retryMs(false, { ...early, participants: 1000 }, limits)).toBe(2000);
    expect(retryMs(false, { ...early, participants: 100_000 }, limits)).toBe(20_000);
  });
});
