import { setTimeout as delay } from "node:timers/promises";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { describe, expect, it } from "vitest";
import { createEphemeralIdentity, createSiteToken } from "../src/index.ts";
import { createTwins } from "../src/twins.ts";
import { createRogue } from "./rogue.ts";
import { createMember, until } from "./support.ts";

const SOMEWHERE = { host: "10.0.0.9", port: 5056 };

function watch(holdsOwnKey: () => Promise<boolean>) {
  const clock = createManualClock();
  const errors: unknown[] = [];
  const logger = { ...silentLogger, error: (fields: unknown) => void errors.push(fields) };
  let calls = 0;
  const twins = createTwins(
    { clock, random: () => 0.1, logger },
    {
      isOwn: (host) => host === "10.0.0.1",
      async holdsOwnKey() {
        calls += 1;
        return await holdsOwnKey();
      },
    },
  );
  return {
    twins,
    errors,
    calls: () => calls,
    async pass(ms: number) {
      for (const part of [ms / 2, ms / 2]) {
        await delay(1);
        clock.advance(part);
        await delay(1);
      }
    },
  };
}

describe("another machine with this machine's identity", () => {
  it("is told of once it has shown the key, and forgotten when it is gone", async () => {
    const { twins, errors, calls, pass } = watch(async () => true);
    twins.heardOf([SOMEWHERE, { host: "10.0.0.1", port: 5056 }]);
    expect(twins.current()).toBe(undefined);
    await pass(2000);
    expect(twins.current()).toMatchObject({ address: "10.0.0.9:5056" });
    for (let i = 0; i < 10; i++) {
      twins.heardOf([SOMEWHERE]);
      await pass(2000);
    }
    expect(calls()).toBe(1);
    await pass(60_000);
    twins.heardOf([SOMEWHERE]);
    await pass(2000);
    expect(calls()).toBe(2);
    expect(errors).toHaveLength(1);
    await pass(11 * 60_000);
    expect(twins.current()).toBe(undefined);
  });

  it("is not made up by who only says so, and costs few calls", async () => {
    for (const answer of [
      async () => false,
      async () => await Promise.reject(new Error("closed")),
    ]) {
      const { twins, calls, pass } = watch(answer);
      for (let i = 0; i < 200; i++) twins.heardOf([{ host: `10.0.1.${i}`, port: 5056 }]);
      await pass(2000);
      expect(twins.current()).toBe(undefined);
      expect(calls()).toBeLessThan(20);
    }
  });

  it("is not this machine itself, met by a way round", async () => {
    const around = watch(async () => {
      around.twins.calledFrom("192.168.0.1");
      return true;
    });
    around.twins.heardOf([SOMEWHERE]);
    await around.pass(2000);
    expect(around.twins.current()).toBe(undefined);
    await around.twins.calling(async () => around.twins.calledFrom("192.168.0.1"));
    expect(around.twins.current()).toBe(undefined);
    await around.pass(2000);
    around.twins.calledFrom("10.0.0.1");
    expect(around.twins.current()).toBe(undefined);
    around.twins.calledFrom("10.0.0.9");
    expect(around.twins.current()).toMatchObject({ address: "10.0.0.9" });
  });

  it("costs no member its connection, whose address somebody calls this machine's", async () => {
    const token = createSiteToken();
    // On Linux all of 127.0.0.0/8 is reached, and 127.0.0.1 alone is an interface's address.
    await using other = await createMember({ token, listen: ["127.0.0.2"] });
    await using one = await createMember(
      { token, peers: other.listenAddresses() },
      { random: () => 0 },
    );
    await until(() => one.members().length === 1);
    const downs: string[] = [];
    one.on("memberDown", (peer) => downs.push(peer));
    const port = other.listenAddresses()[0]!.split(":")[1];
    const roster = [{ peer: one.self, addresses: [`/ip4/127.0.0.2/tcp/${port}`] }];
    await using _rogue = await createRogue(one, token, 2, roster);
    await delay(1500);
    expect(downs).toEqual([]);
  });

  it("is no member, and what a machine is called by itself is no other", async () => {
    const token = createSiteToken();
    const identity = await createEphemeralIdentity();
    await using one = await createMember({ token }, { identity });
    await using two = await createMember({ token, peers: one.listenAddresses() }, { identity });
    await using third = await createMember({ token, peers: two.listenAddresses() });
    await until(() => third.members().length === 1);
    await delay(500);
    expect(one.members()).toEqual([]);
    // Both are this machine: at 127.0.0.1 nobody else is to be met.
    expect([one.twin(), two.twin()]).toEqual([undefined, undefined]);
  });
});
