import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testPeerId } from "../../src/testing.ts";
import type { PeerIdString } from "../../src/transport.ts";
import { createShares, SHARE_TTL_MS, type SharesInit } from "../../src/uplink/shares.ts";

const peers = ["a", "b", "c", "d", "e", "f", "g"].map(testPeerId);

const kinds: readonly (readonly [string, SharesInit, number])[] = [
  ["a rate", { quantum: 1000, inUse: false }, 50_000],
  ["requests", { quantum: 1, inUse: true }, 12],
];

/** A member as it keeps to what it was given. */
interface Model {
  granted: number;
  untilMs: number;
}

describe.each(kinds)("shares of %s", (_name, init, most) => {
  const question = fc.record({
    peer: fc.nat(peers.length - 1),
    want: fc.nat(most * 2),
    passMs: fc.nat(1500),
  });

  it("never hands out more than there is, whoever asks when", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: most }),
        fc.array(question, { maxLength: 80 }),
        (total, questions) => {
          const shares = createShares(init);
          const models = new Map<PeerIdString, Model>();
          let nowMs = 0;
          for (const { peer: index, want, passMs } of questions) {
            nowMs += passMs;
            const peer = peers[index]!;
            const before = models.get(peer);
            const holds = before !== undefined && before.untilMs > nowMs ? before.granted : 0;
            const granted = shares.claim(peer, { want, holds }, { total, members: 3 }, nowMs);
            expect(granted).toBeLessThanOrEqual(want);
            models.set(peer, { granted, untilMs: nowMs + SHARE_TTL_MS });
            let sum = 0;
            for (const model of models.values()) if (model.untilMs > nowMs) sum += model.granted;
            expect(sum).toBeLessThanOrEqual(total);
          }
        },
      ),
    );
  });

  it("gives everybody an even part before long, and one alone all", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: most }),
        fc.integer({ min: 1, max: peers.length }),
        (total, among) => {
          const shares = createShares(init);
          const crowd = peers.slice(0, among);
          const got = new Map<PeerIdString, number>();
          for (let round = 0; round < 4; round++)
            for (const peer of crowd) {
              // Requests end, and what is asked for is begun anew.
              const claim = { want: total, holds: 0 };
              got.set(
                peer,
                shares.claim(peer, claim, { total, members: peers.length }, round * 500),
              );
            }
          const even = Math.floor(total / among / init.quantum) * init.quantum;
          for (const amount of got.values()) expect(amount).toBeGreaterThanOrEqual(even);
          const sum = [...got.values()].reduce((a, b) => a + b, 0);
          expect(sum).toBe(total);
        },
      ),
    );
  });

  it("counts what others still hold of a predecessor after it has taken over", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: most }),
        fc.array(fc.nat(most), { minLength: 1, maxLength: peers.length }),
        fc.array(question, { maxLength: 40 }),
        (total, parts, questions) => {
          const sum = parts.reduce((a, b) => a + b, 0);
          const models = new Map<PeerIdString, Model>();
          for (const [index, part] of parts.entries()) {
            const granted = Math.floor((part * total) / Math.max(1, sum));
            models.set(peers[index]!, { granted, untilMs: SHARE_TTL_MS });
          }
          const shares = createShares(init);
          shares.takeOver(0);
          let nowMs = 0;
          for (const { peer: index, want, passMs } of questions) {
            nowMs += passMs / 20;
            const peer = peers[index]!;
            const before = models.get(peer);
            const holds = before !== undefined && before.untilMs > nowMs ? before.granted : 0;
            const granted = shares.claim(peer, { want, holds }, { total, members: 3 }, nowMs);
            models.set(peer, { granted, untilMs: nowMs + SHARE_TTL_MS });
            let held = 0;
            for (const model of models.values()) if (model.untilMs > nowMs) held += model.granted;
            expect(held).toBeLessThanOrEqual(total);
          }
        },
      ),
    );
  });
});

it("lets those wait their turn who can't all have one", () => {
  const shares = createShares({ quantum: 1, inUse: true });
  const served = new Set<PeerIdString>();
  for (let nowMs = 0; nowMs < 20_000; nowMs += 500)
    for (const peer of peers)
      if (shares.claim(peer, { want: 1, holds: 0 }, { total: 2, members: 7 }, nowMs) > 0)
        served.add(peer);
  expect(served.size).toBe(peers.length);
});
