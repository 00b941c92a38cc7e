import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { guidedShare, nextRange, rampPieces } from "../src/lease-grants.ts";

const MIB = 1024 * 1024;
const sizes = { firstLeaseBytes: 2 * MIB, pieceSizeBytes: MIB };

describe("the next range", () => {
  it("begins at the first open piece and ends before one that is not", () => {
    const open = Uint8Array.of(0, 1, 1, 0, 1);
    expect(nextRange(open, [], 5)).toEqual({ first: 1, end: 3 });
    expect(nextRange(open, [], 1)).toEqual({ first: 1, end: 2 });
  });

  it("begins where a client waits, at the first such piece that is open", () => {
    const open = Uint8Array.of(1, 1, 0, 1, 1);
    expect(nextRange(open, [4, 3, 2], 5)).toEqual({ first: 3, end: 5 });
    expect(nextRange(open, [2], 5)).toEqual({ first: 0, end: 2 });
  });

  it("is none when nothing is open", () => {
    expect(nextRange(new Uint8Array(3), [0, 1], 5)).toBeUndefined();
  });

  it("has only open pieces, no more than are allowed, and one that is urgent if one is open", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(0, 1), { minLength: 1, maxLength: 64 }),
        fc.array(fc.nat(63), { maxLength: 8 }),
        fc.integer({ min: 1, max: 64 }),
        (bits, urgent, most) => {
          const open = Uint8Array.from(bits);
          const range = nextRange(open, urgent, most);
          if (range === undefined) {
            expect(open).not.toContain(1);
            return;
          }
          const { first, end } = range;
          expect(end - first).toBeGreaterThan(0);
          expect(end - first).toBeLessThanOrEqual(most);
          expect(open.subarray(first, end).every((isOpen) => isOpen === 1)).toBe(true);
          if (urgent.some((piece) => open[piece] === 1)) expect(urgent).toContain(first);
        },
      ),
    );
  });
});

describe("the share of a member", () => {
  it("is half of an even share, or all for one alone", () => {
    expect(guidedShare(64, 4, 100)).toBe(8);
    expect(guidedShare(64, 1, 100)).toBe(64);
  });

  it("is at least a piece, and no more than a lease may have", () => {
    expect(guidedShare(3, 8, 100)).toBe(1);
    expect(guidedShare(1000, 2, 16)).toBe(16);
  });

  it("takes a blob in leases whose number grows with its logarithm only", () => {
    let left = 4096;
    let leases = 0;
    for (; left > 0; leases++) left -= guidedShare(left, 8, 4096);
    expect(leases).toBeLessThan(2 * 8 * Math.log2(4096));
  });

  it("doubles with each lease, up to what the member brings in four seconds", () => {
    expect([0, 1, 2, 3].map((before) => rampPieces(before, undefined, sizes))).toEqual([
      2, 4, 8, 16,
    ]);
    expect(rampPieces(9, MIB / 1000, sizes)).toBe(4);
    expect(rampPieces(9, 0, sizes)).toBe(1);
  });
});
