import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { describe, expect, it } from "vitest";
import { createRoster, type RosterRecord, type RosterTable } from "../src/roster.ts";

const DAY_MS = 24 * 3600 * 1000;
const ADDRESSES = ["/ip4/10.0.0.7/tcp/5056"];

function createTable(): RosterTable & { readonly rows: Map<string, RosterRecord> } {
  const rows = new Map<string, RosterRecord>();
  return {
    rows,
    put: async (key, value) => void rows.set(key, value),
    delete: async (key) => void rows.delete(key),
    async *entries() {
      yield* Array.from(rows);
    },
  };
}

describe("roster", () => {
  it("remembers over a restart when a member was last there, not when it came", async () => {
    const table = createTable();
    const clock = createManualClock(1);
    const components = { table, isUp: () => false, clock, logger: silentLogger };
    const roster = createRoster(components);
    roster.seen("stayed", ADDRESSES);
    roster.seen("left", ADDRESSES);
    clock.advance(31 * DAY_MS);
    roster.touch("stayed");
    roster.touch("stranger");
    const found: string[] = [];
    for await (const { peer } of createRoster(components).load()) found.push(peer);
    expect(found).toEqual(["stayed"]);
    expect([...table.rows.keys()]).toEqual(["stayed"]);
  });

  it("gives up the one that is down and was seen longest ago for a new member", () => {
    const table = createTable();
    const clock = createManualClock(1);
    const up = new Set(["member0"]);
    const roster = createRoster({
      table,
      isUp: (peer) => up.has(peer),
      clock,
      logger: silentLogger,
    });
    for (let i = 0; i < 300; i++) {
      roster.seen(`member${i}`, ADDRESSES);
      clock.advance(1);
    }
    roster.seen("new", ADDRESSES);
    const peers = roster.list().map(({ peer }) => peer);
    expect(peers).toHaveLength(300);
    expect(peers.slice(0, 2)).toEqual(["member0", "new"]);
    expect(peers).not.toContain("member1");
    expect(table.rows.size).toBe(300);
  });
});
