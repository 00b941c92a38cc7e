import type { PeerIdString } from "@shoal/swarm";
import { describe, expect, it } from "vitest";
import { type Candidates, createCandidates, type PeerSource } from "../src/candidates.ts";

const at = (host: string) => ({ host, port: 5056 });
const nobody = () => false;

/** mulberry32: every run sees the same chance. */
function createRandom(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function hear(
  candidates: Candidates,
  name: string,
  source: PeerSource,
  nowMs: number,
  hosts: readonly string[] = ["10.0.0.9"],
  proven?: boolean,
): void {
  const endpoints = hosts.map(at);
  candidates.heard({ key: name, peer: name as PeerIdString, source, endpoints }, nowMs, proven);
}

/** Runs the dial loop for a while; every dial fails, and everybody is sighted again every 10 s. */
function dialsOf(
  candidates: Candidates,
  untilMs: number,
  sight: (nowMs: number) => void,
): Map<string, number> {
  const dials = new Map<string, number>();
  for (let nowMs = 0; nowMs < untilMs; nowMs += 100) {
    if (nowMs % 10_000 === 0) sight(nowMs);
    for (const { key } of candidates.due(nobody, nowMs, 1)) {
      dials.set(key, (dials.get(key) ?? 0) + 1);
      candidates.dialled(key, undefined, nowMs);
    }
  }
  return dials;
}

describe("candidates", () => {
  it("dials a newcomer within minutes of a flood of forged sightings", () => {
    const candidates = createCandidates(createRandom());
    const dials = dialsOf(candidates, 600_000, (nowMs) => {
      for (let i = 0; i < 999; i++) hear(candidates, `forged${i}`, "mdns", nowMs);
      hear(candidates, "real", "mdns", nowMs);
    });
    expect(dials.get("real")).toBeGreaterThan(0);
  });

  it("takes a newcomer in though a flood of ever new names fills its memory", () => {
    const candidates = createCandidates(createRandom());
    let name = 0;
    const dials = dialsOf(candidates, 300_000, (nowMs) => {
      for (let i = 0; i < 500; i++) hear(candidates, `forged${name++}`, "mdns", nowMs);
      hear(candidates, "real", "mdns", nowMs);
    });
    expect(dials.get("real")).toBeGreaterThan(0);
  });

  it("dials known members first, and newcomers nevertheless", () => {
    const candidates = createCandidates(createRandom());
    for (let i = 0; i < 900; i++) hear(candidates, `forged${i}`, "mdns", 0);
    for (let i = 0; i < 20; i++) hear(candidates, `known${i}`, "roster", 0, ["10.0.0.2"], true);
    const first = candidates.due(nobody, 100, 24).map(({ key }) => key);
    expect(first.filter((key) => key.startsWith("known"))).toHaveLength(18);
    expect(first.filter((key) => key.startsWith("forged"))).toHaveLength(6);
  });

  it("keeps a member's own addresses whatever sightings say", () => {
    const candidates = createCandidates(createRandom());
    hear(candidates, "member", "inbound", 0, ["10.0.0.2"], true);
    for (let i = 0; i < 100; i++) hear(candidates, "member", "mdns", 0, [`10.9.0.${i}`]);
    expect(candidates.due(nobody, 100, 1)).toMatchObject([{ endpoints: [at("10.0.0.2")] }]);
    candidates.dialled("member", undefined, 100);
    const [next] = candidates.due(nobody, 60_000, 1);
    expect(next?.endpoints).toContainEqual(at("10.9.0.99"));
    expect(next?.endpoints.length).toBeLessThanOrEqual(8);
  });

  it("forgets sightings that nobody stands behind, and never a member", () => {
    const candidates = createCandidates(createRandom());
    hear(candidates, "forged", "mdns", 0);
    hear(candidates, "member", "mdns", 0, ["10.0.0.2"], true);
    for (let nowMs = 0; nowMs < 600_000; nowMs += 10_000)
      for (const { key } of candidates.due(nobody, nowMs, 10))
        candidates.dialled(key, undefined, nowMs);
    expect(candidates.sourceOf("forged" as PeerIdString)).toBeUndefined();
    expect(candidates.sourceOf("member" as PeerIdString)).toBe("mdns");
  });
});
