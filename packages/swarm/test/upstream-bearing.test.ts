import { describe, expect, it } from "vitest";
import { createUpstreamBearing } from "../src/upstream-bearing.ts";

const PIECE = 1024;

function bearing() {
  return createUpstreamBearing({ maxLessees: 64, pieceMs: 4000 });
}

describe("how many the upstream bears", () => {
  it("is all that may fetch, until their pieces take long", () => {
    expect(bearing().mostLessees(undefined, PIECE)).toBe(64);
    expect(bearing().mostLessees(PIECE, PIECE)).toBe(64);
    expect(bearing().mostLessees(PIECE / 400, PIECE)).toBe(10);
    expect(bearing().mostLessees(0, PIECE)).toBe(4);
  });

  it("halves when it fails one, once a second", () => {
    const upstream = bearing();
    upstream.failed(19, 2000);
    upstream.failed(19, 2500);
    expect(upstream.mostLessees(undefined, PIECE)).toBe(10);
    upstream.failed(9, 3001);
    expect(upstream.mostLessees(undefined, PIECE)).toBe(5);
  });

  it("grows by one with each lease that is brought, but not in the second of a failure", () => {
    const upstream = bearing();
    upstream.failed(0, 2000);
    upstream.brought(2500);
    expect(upstream.mostLessees(undefined, PIECE)).toBe(1);
    upstream.brought(3001);
    expect(upstream.mostLessees(undefined, PIECE)).toBe(2);
    for (let more = 0; more < 100; more++) upstream.brought(4000);
    expect(upstream.mostLessees(undefined, PIECE)).toBe(64);
  });
});
