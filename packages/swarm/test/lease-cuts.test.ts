import { describe, expect, it } from "vitest";
import {
  backupPiece,
  isNeedless,
  isStalled,
  longLeases,
  remainingMs,
  slowEnd,
  tailEnd,
} from "../src/lease-cuts.ts";
import type { Lease } from "../src/lease.ts";
import { testPeerId } from "../src/testing.ts";

const PIECE = 1024;
const [a, b] = [testPeerId("a"), testPeerId("b")];
const nowMs = 10_000;

/** Pieces 10 to 30, at piece 14, at a piece a second. */
function leaseOf(change: Partial<Lease> & { bytesPerMs?: number | undefined } = {}): Lease {
  const { bytesPerMs = PIECE / 1000, ...fields } = change;
  return {
    id: 1,
    peer: a,
    first: 10,
    end: 30,
    doneBytes: 4.5 * PIECE,
    grantedMs: 5000,
    progressMs: nowMs,
    pace: { bytesPerMs, add() {} },
    backup: false,
    ...fields,
  };
}

describe("a slow lease", () => {
  const leftMs = 15_500;

  it("is cut behind the next piece when it would take more than twice the remaining makespan", () => {
    expect(slowEnd(leaseOf(), PIECE, { nowMs, remainingMs: leftMs / 2 - 1 })).toBe(16);
    expect(slowEnd(leaseOf(), PIECE, { nowMs, remainingMs: leftMs / 2 + 1 })).toBeUndefined();
  });

  it("stays when it has just begun, brings nothing, or has little left", () => {
    const site = { nowMs, remainingMs: 1 };
    expect(slowEnd(leaseOf({ grantedMs: nowMs - 1000 }), PIECE, site)).toBeUndefined();
    expect(slowEnd(leaseOf({ bytesPerMs: 0 }), PIECE, site)).toBeUndefined();
    expect(slowEnd(leaseOf({ end: 16 }), PIECE, site)).toBeUndefined();
  });

  it("may always take two seconds, however near the end is", () => {
    const lease = leaseOf({ bytesPerMs: (15.5 * PIECE) / 1900 });
    expect(slowEnd(lease, PIECE, { nowMs, remainingMs: 0 })).toBeUndefined();
  });
});

describe("a backup", () => {
  const site = { nowMs, remainingMs: 100 };
  const nobody = (): boolean => false;
  const slower = leaseOf({ id: 2, first: 40, end: 50, bytesPerMs: PIECE / 3000 });

  it("is for the piece whose lessee needs the longest, once that is too long", () => {
    expect(
      backupPiece([leaseOf({ bytesPerMs: PIECE / 2000 }), slower], PIECE, b, nobody, site),
    ).toBe(44);
    const long = { nowMs, remainingMs: 1500 };
    expect(backupPiece([slower], PIECE, b, nobody, long)).toBeUndefined();
  });

  it("is by another member, of a piece that nobody has and that has none yet", () => {
    const second = leaseOf({ id: 3, first: 44, end: 45, doneBytes: 0, backup: true });
    expect(backupPiece([slower], PIECE, a, nobody, site)).toBeUndefined();
    expect(backupPiece([slower], PIECE, b, (piece) => piece === 44, site)).toBeUndefined();
    expect(backupPiece([slower, second], PIECE, b, nobody, site)).toBeUndefined();
  });
});

describe("a long lease", () => {
  it("is one with pieces enough for all who wait", () => {
    const lease = leaseOf();
    expect(longLeases([lease], PIECE, 0)).toEqual([]);
    expect(longLeases([lease], PIECE, 1)).toEqual([lease]);
    expect(longLeases([lease], PIECE, 3)).toEqual([]);
  });

  it("keeps the piece it is at, the next, and a share of the rest", () => {
    expect(tailEnd(leaseOf(), PIECE, 2, 100)).toBe(14 + 2 + 4);
    expect(tailEnd(leaseOf({ end: 16 }), PIECE, 2, 100)).toBe(16);
  });
});

describe("a lease", () => {
  const limits = { stalledMs: 2000, firstByteMs: 5000 };

  it("is stalled without a byte for long, the first one for longer", () => {
    const fast = leaseOf({ grantedMs: 0, progressMs: 1000 });
    expect(isStalled(fast, PIECE, limits, 3000)).toBe(false);
    expect(isStalled(fast, PIECE, limits, 3001)).toBe(true);
    const first = leaseOf({ doneBytes: 0, grantedMs: 0, progressMs: 0 });
    expect(isStalled(first, PIECE, limits, 5000)).toBe(false);
    expect(isStalled(first, PIECE, limits, 5001)).toBe(true);
  });

  it("is given three times its piece time, but never more than ten seconds", () => {
    const slow = leaseOf({ doneBytes: PIECE, grantedMs: 0, progressMs: 1000 });
    expect(isStalled(slow, PIECE, limits, 4000)).toBe(false);
    const slowest = leaseOf({ doneBytes: 1, grantedMs: 0, progressMs: 1000 });
    expect(isStalled(slowest, PIECE, limits, 11_000)).toBe(false);
    expect(isStalled(slowest, PIECE, limits, 11_001)).toBe(true);
  });

  it("is needless once others have all that is left of it", () => {
    expect(isNeedless(leaseOf(), PIECE, (piece) => piece >= 14)).toBe(true);
    expect(isNeedless(leaseOf(), PIECE, (piece) => piece > 14)).toBe(false);
  });
});

describe("the remaining time", () => {
  it("is what is left at the site's pace, and a second before that is known", () => {
    expect(remainingMs(5000, 10)).toBe(500);
    expect(remainingMs(5000, undefined)).toBe(1000);
    expect(remainingMs(5000, 0)).toBe(1000);
  });
});
