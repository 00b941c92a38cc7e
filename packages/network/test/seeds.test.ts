import { setTimeout as delay } from "node:timers/promises";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { describe, expect, it } from "vitest";
import { type Endpoint, formatEndpoint } from "../src/addresses.ts";
import { followSeeds } from "../src/seeds.ts";

const MINUTE_MS = 60_000;

function follow(configured: readonly Endpoint[], names: Record<string, string[] | Error>) {
  const clock = createManualClock();
  const dialled = new Set<string>();
  let lookups = 0;
  const state = { isAlone: false };
  const seeds = followSeeds(
    {
      clock,
      logger: silentLogger,
      async resolve(host) {
        lookups += 1;
        const found = names[host];
        if (found === undefined || found instanceof Error) throw found ?? new Error("ENOTFOUND");
        return found;
      },
    },
    {
      configured,
      isAlone: () => state.isAlone,
      onAddress: (endpoint) => dialled.add(formatEndpoint(endpoint)),
      onGone: (endpoint) => dialled.delete(formatEndpoint(endpoint)),
    },
  );
  return {
    state,
    lookups: () => lookups,
    dialled: () => [...dialled].sort(),
    async pass(ms: number) {
      await delay(1);
      clock.advance(ms);
      await delay(1);
    },
    [Symbol.dispose]: () => seeds[Symbol.dispose](),
  };
}

describe("configured peers", () => {
  it("are all the addresses of a name, and what it stands for later", async () => {
    const names: Record<string, string[] | Error> = { site: ["10.0.0.1", "fd00::1"] };
    using seeds = follow(
      [
        { host: "site", port: 5056 },
        { host: "10.0.0.9", port: 1 },
      ],
      names,
    );
    await seeds.pass(0);
    expect(seeds.dialled()).toEqual(["10.0.0.1:5056", "10.0.0.9:1", "[fd00::1]:5056"]);
    names["site"] = ["10.0.0.2", "10.0.0.1"];
    await seeds.pass(MINUTE_MS);
    expect(seeds.dialled()).toEqual(["10.0.0.1:5056", "10.0.0.2:5056", "10.0.0.9:1"]);
    expect(seeds.lookups()).toBe(2);
  });

  it("stay while a name server is away, and are asked for sooner", async () => {
    const names: Record<string, string[] | Error> = { site: ["10.0.0.1"] };
    using seeds = follow([{ host: "site", port: 5056 }], names);
    await seeds.pass(0);
    names["site"] = new Error("EAI_AGAIN");
    await seeds.pass(MINUTE_MS);
    expect(seeds.dialled()).toEqual(["10.0.0.1:5056"]);
    await seeds.pass(MINUTE_MS / 6);
    expect(seeds.lookups()).toBe(3);
  });

  it("are asked for sooner by a machine that is alone", async () => {
    using seeds = follow([{ host: "site", port: 5056 }], { site: ["10.0.0.1"] });
    seeds.state.isAlone = true;
    for (let i = 0; i < 6; i++) await seeds.pass(MINUTE_MS / 6);
    expect(seeds.lookups()).toBe(7);
  });

  it("keep an address that another name stands for", async () => {
    const names: Record<string, string[] | Error> = { one: ["10.0.0.1"], two: ["10.0.0.1"] };
    using seeds = follow(
      [
        { host: "one", port: 5056 },
        { host: "two", port: 5056 },
      ],
      names,
    );
    await seeds.pass(0);
    names["one"] = [];
    await seeds.pass(MINUTE_MS);
    expect(seeds.dialled()).toEqual(["10.0.0.1:5056"]);
    names["two"] = [];
    await seeds.pass(MINUTE_MS);
    await seeds.pass(MINUTE_MS);
    expect(seeds.dialled()).toEqual([]);
  });
});
