import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import type { FrameHandler } from "@shoal/swarm";
import { describe, expect, it } from "vitest";
import {
  createEphemeralIdentity,
  createNetwork,
  createSiteToken,
  type Network,
  type RosterTable,
  type SiteToken,
  siteOf,
} from "../src/index.ts";
import { createMember as createSilent, createStranger, multiaddrOf, until } from "./support.ts";

const echo: FrameHandler = async (_peer, _lane, frame) => [frame];

async function createMember(...[init, change]: Parameters<typeof createSilent>): Promise<Network> {
  const network = await createSilent(init, change);
  network.handle(echo);
  return network;
}

async function createPair(token: SiteToken = createSiteToken()): Promise<[Network, Network]> {
  const a = await createMember({ token });
  const b = await createMember({ token, peers: a.listenAddresses() });
  await until(() => a.members().length === 1 && b.members().length === 1);
  return [a, b];
}

describe("network", () => {
  it("admits a member of the site, and carries frames both ways on both lanes", async () => {
    const [a, b] = await createPair();
    await using _a = a;
    await using _b = b;
    for (const [from, to] of [
      [a, b.self],
      [b, a.self],
    ] as const)
      for (const lane of ["control", "bulk"] as const) {
        const frame = new Uint8Array(randomBytes(3000));
        expect(Buffer.compare(await from.request(to, lane, frame), frame)).toBe(0);
      }
  });

  it("tells members the zone that it is in, before they hear that it is up", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token, zone: "rack1" });
    const seen: unknown[] = [];
    using _up = a.on("memberUp", (peer) => seen.push(a.zoneOf!(peer)));
    await using b = await createMember({ token, zone: "rack-2", peers: a.listenAddresses() });
    await using c = await createMember({ token, peers: a.listenAddresses() });
    await until(() => a.members().length === 2 && b.members().length === 2);
    expect(seen).toEqual(expect.arrayContaining(["rack-2", undefined]));
    expect([a.self, b.self, c.self].map((peer) => b.zoneOf!(peer))).toEqual([
      "rack1",
      "rack-2",
      undefined,
    ]);
  });

  it("carries many requests at once, with answers of a megabyte", async () => {
    const token = createSiteToken();
    const answer = new Uint8Array(randomBytes(1024 * 1024));
    await using a = await createMember({ token });
    const init = { token, peers: a.listenAddresses(), listen: ["127.0.0.1"], port: 0, mdns: false };
    await using b = createNetwork(
      {
        identity: await createEphemeralIdentity(),
        clock: systemClock,
        random: Math.random,
        logger: silentLogger,
        metrics: noMetrics,
      },
      init,
    );
    b.handle(async (_peer, lane, frame) => (lane === "bulk" ? [frame, answer] : [frame]));
    await b.start();
    await until(() => a.members().length === 1);
    const replies = Array.from({ length: 100 }, async (_, i) => {
      const reply = await a.request(b.self, "bulk", new Uint8Array([i]));
      return reply[0] === i && Buffer.compare(reply.subarray(1), answer) === 0;
    });
    const small = Array.from({ length: 100 }, async (_, i) => {
      const reply = await a.request(b.self, "control", new Uint8Array([i]));
      return reply[0] === i;
    });
    expect((await Promise.all([...replies, ...small])).every(Boolean)).toBe(true);
  });

  it("gives up a request when its signal aborts, and goes on with the next", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    await using b = await createMember({ token, peers: a.listenAddresses() });
    await until(() => a.members().length === 1 && b.members().length === 1);
    const reason = new Error("enough");
    const aborted = a.request(b.self, "control", new Uint8Array(10), {
      signal: AbortSignal.abort(reason),
    });
    await expect(aborted).rejects.toBe(reason);
    const controller = new AbortController();
    const cut = a.request(b.self, "bulk", new Uint8Array(10), { signal: controller.signal });
    controller.abort(reason);
    await cut.catch(() => undefined);
    expect(await a.request(b.self, "bulk", new Uint8Array(7))).toHaveLength(7);
  });

  it("tells at once when a member goes, and when it is back", async () => {
    const token = createSiteToken();
    const identity = await createEphemeralIdentity();
    await using a = await createMember({ token });
    const b = await createMember({ token, peers: a.listenAddresses() }, { identity });
    await until(() => a.members().length === 1);
    const events: string[] = [];
    a.on("memberDown", (peer) => events.push(`down ${peer}`));
    a.on("memberUp", (peer) => events.push(`up ${peer}`));
    await b[Symbol.asyncDispose]();
    await until(() => events.length === 1, 1000);
    await expect(a.request(b.self, "control", new Uint8Array(1))).rejects.toMatchObject({
      code: "ERR_PEER_UNREACHABLE",
    });
    await using _again = await createMember({ token, peers: a.listenAddresses() }, { identity });
    await until(() => events.length === 2);
    expect(events).toEqual([`down ${b.self}`, `up ${b.self}`]);
  });

  it("introduces members to each other", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    await using b = await createMember({ token, peers: a.listenAddresses() });
    await using c = await createMember({ token, peers: a.listenAddresses() });
    await until(() => [a, b, c].every((network) => network.members().length === 2));
  });

  it("finds its members again from the roster after a restart", async () => {
    const token = createSiteToken();
    const rows = new Map<string, never>();
    const roster: RosterTable = {
      put: async (key, value) => void rows.set(key, value as never),
      delete: async (key) => void rows.delete(key),
      async *entries() {
        yield* rows;
      },
    };
    const identity = await createEphemeralIdentity();
    await using a = await createMember({ token });
    {
      await using b = await createMember(
        { token, peers: a.listenAddresses() },
        { identity, roster },
      );
      await until(() => b.members().length === 1);
    }
    await using b = await createMember({ token }, { identity, roster });
    await until(() => b.members().length === 1);
  });

  it("joins and changes its site while it runs", async () => {
    const [one, two] = [createSiteToken(), createSiteToken()];
    await using a = await createMember({ token: one });
    await using b = await createMember({ peers: a.listenAddresses() });
    expect(b.members()).toEqual([]);
    expect(b.listenAddresses()).toEqual([]);
    await b.join(one);
    await until(() => a.members().length === 1 && b.members().length === 1);
    await b.join(two);
    await until(() => a.members().length === 0);
    expect(b.members()).toEqual([]);
  });

  it("refuses a wrong address of a peer before it has begun, in a site or not", async () => {
    for (const token of [undefined, createSiteToken()])
      await expect(createMember({ token, peers: ["bad peer"] })).rejects.toMatchObject({
        code: "ERR_PEER_ADDRESS",
      });
  });

  it("goes back to its site when it can't enter another", async () => {
    const token = createSiteToken();
    let failing = false;
    const roster: RosterTable = {
      put: async () => undefined,
      delete: async () => undefined,
      async *entries() {
        if (failing) {
          failing = false;
          throw new Error("the disk fails");
        }
        yield* [];
      },
    };
    await using a = await createMember({ token });
    await using b = await createMember({ token, peers: a.listenAddresses() }, { roster });
    await until(() => b.members().length === 1);
    failing = true;
    await expect(b.join(createSiteToken())).rejects.toThrow("the disk fails");
    await until(() => b.members().length === 1);
    expect(b.peers()).toMatchObject([{ id: a.self, state: "up" }]);
  });

  it("signs with its identity so that others can check", async () => {
    await using a = await createMember({});
    await using b = await createMember({});
    const message = Buffer.from("message");
    const signature = await a.sign(message);
    expect(await b.verify(a.self, message, signature)).toBe(true);
    expect(await b.verify(b.self, message, signature)).toBe(false);
    expect(await b.verify(a.self, Buffer.from("other"), signature)).toBe(false);
  });

  it("says which port is in use", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    const port = Number(a.listenAddresses()[0]!.split(":").at(-1));
    await expect(createMember({ token, port })).rejects.toMatchObject({ code: "ERR_PORT_IN_USE" });
  });
});

describe("a stranger", () => {
  it("without a token, or with another site's, does not get through the handshake", async () => {
    await using member = await createMember({ token: createSiteToken() });
    for (const prologue of [undefined, siteOf(createSiteToken()).prologue]) {
      const stranger = await createStranger(prologue);
      await expect(stranger.dial(multiaddrOf(member))).rejects.toThrow();
      await stranger.stop();
    }
    expect(member.members()).toEqual([]);
  });

  it("that knows the prologue but not the token is answered on no protocol", {
    timeout: 30_000,
  }, async () => {
    const token = createSiteToken();
    let asked = 0;
    await using member = await createMember({ token });
    member.handle(async () => {
      asked += 1;
      return [];
    });
    const stranger = await createStranger(siteOf(token).prologue);
    const connection = await stranger.dial(multiaddrOf(member));
    for (const protocol of [
      "/shoal/control/1",
      "/shoal/bulk/1",
      "/shoal/beat/1",
      "/ipfs/ping/1.0.0",
      "/ipfs/id/1.0.0",
    ]) {
      const heard: unknown[] = [];
      try {
        const stream = await connection.newStream(protocol, { signal: AbortSignal.timeout(2000) });
        stream.addEventListener("message", (event) => heard.push(event));
        stream.send(Buffer.from([0, 0, 0, 1, 1]));
        await delay(200);
      } catch {
        // Refused: as it should be.
      }
      expect(heard).toEqual([]);
    }
    const admission = await connection.newStream("/shoal/admit/1");
    admission.send(Buffer.from([0xff, 0xff, 0xff, 0xff]));
    await until(() => connection.status !== "open", 8000);
    expect(asked).toBe(0);
    expect(member.members()).toEqual([]);
    await stranger.stop();
  });
});
