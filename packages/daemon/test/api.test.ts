import { once } from "node:events";
import { connect } from "node:net";
import { createApiClient, type Pull } from "@shoal/api";
import { createSiteToken } from "@shoal/network";
import { describe, expect, it } from "vitest";
import { silentLogger } from "@shoal/runtime";
import { startDaemon } from "../src/index.ts";
import { createTestDaemon, daemonForEach } from "./support.ts";

describe("socket API", () => {
  const t = daemonForEach();

  async function follow(id: string): Promise<Pull[]> {
    const states: Pull[] = [];
    for await (const event of t.client.events({ pull: id })) {
      if (event.type !== "pull") continue;
      states.push(event.pull);
      if (event.pull.finishedAt !== undefined) return states;
    }
    throw new Error("the events ended before the pull");
  }

  it("pulls an image into the store, tells how it goes, and lists it", async () => {
    const image = t.daemon.registry.addImage("app", "v1", [400_000, 10]);
    const reference = `${t.daemon.registry.registry}/app:v1`;
    const { id, state } = await t.client.startPull({ reference });
    expect(state).toBe("resolving");
    const states = await follow(id);
    const last = states.at(-1)!;
    expect(last).toMatchObject({ state: "done", digest: image.digest, stale: false });
    expect(last.layers).toHaveLength(3);
    for (const layer of last.layers) {
      expect(layer.state).toBe("done");
      expect(layer.fromUpstreamBytes).toBe(layer.sizeBytes);
    }
    expect(await t.client.images()).toMatchObject([
      { name: reference, digest: image.digest, complete: true },
    ]);
    expect(await t.client.pulls()).toMatchObject([{ id, state: "done" }]);
    const { traffic, store } = await t.client.status();
    expect(traffic.fromUpstreamBytes).toBe(
      last.layers.reduce((sum, layer) => sum + layer.sizeBytes, 0),
    );
    expect(store.blobs).toBe(4);
    const again = await t.client.startPull({ reference });
    const second = (await follow(again.id)).at(-1)!;
    for (const layer of second.layers) expect(layer.fromStoreBytes).toBe(layer.sizeBytes);
  });

  it("sets limits at once, for the uplink and for sending", async () => {
    expect(await t.client.limits()).toEqual({});
    const change = { uplinkBytesPerSecond: 1_000_000, lanUploadBytesPerSecond: 5_000_000 };
    const { peerId } = await t.client.status();
    expect(await t.client.setLimits(change)).toMatchObject({ ...change, set: { by: peerId } });
    t.daemon.registry.addImage("app", "v1", [1_000_000]);
    const startedMs = performance.now();
    const { id } = await t.client.startPull({ reference: `${t.daemon.registry.registry}/app:v1` });
    expect((await follow(id)).at(-1)!.state).toBe("done");
    expect(performance.now() - startedMs).toBeGreaterThan(850);
    const none = await t.client.setLimits({ uplinkBytesPerSecond: null });
    expect(none).toMatchObject({ lanUploadBytesPerSecond: 5_000_000 });
    expect(none.uplinkBytesPerSecond).toBeUndefined();
    const wrong = { uplinkBytesPerSecond: -1 };
    await expect(t.client.setLimits(wrong)).rejects.toMatchObject({ code: "ERR_REQUEST" });
  });

  it("begins with the limits of the configuration", async () => {
    await using limited = await createTestDaemon({
      uplink: { limit: "20Mbit", connections: 4 },
      lan: { uploadLimit: "none" },
    });
    await using other = createApiClient({ socketPath: limited.socket });
    const configured = { uplinkBytesPerSecond: 2_500_000, uplinkConnections: 4 };
    expect(await other.limits()).toEqual(configured);
  });

  it("cancels a pull", async () => {
    t.daemon.registry.addImage("app", "v1", [4_000_000]);
    t.daemon.registry.script(({ path }) =>
      path.includes("/blobs/") ? { bytesPerSecond: 200_000 } : undefined,
    );
    const { id } = await t.client.startPull({ reference: `${t.daemon.registry.registry}/app:v1` });
    setTimeout(() => void t.client.cancelPull(id), 200);
    expect((await follow(id)).at(-1)!.state).toBe("cancelled");
  });

  it("tells why a pull failed", async () => {
    const { id } = await t.client.startPull({ reference: `${t.daemon.registry.registry}/none:v1` });
    expect((await follow(id)).at(-1)).toMatchObject({
      state: "failed",
      error: { code: "ERR_UPSTREAM_NOT_FOUND" },
    });
  });

  it.each([
    [{ reference: "Not:A:Reference" }, "ERR_REFERENCE_INVALID"],
    [{ reference: "alpine", platform: "linux" }, "ERR_PLATFORM_INVALID"],
    [{ reference: "" }, "ERR_REQUEST"],
    [{ reference: "alpine", more: 1 }, "ERR_REQUEST"],
  ])("refuses %j with %s", async (request, code) => {
    await expect(t.client.startPull(request)).rejects.toMatchObject({ code });
  });

  it("knows no pull that there is not", async () => {
    await expect(t.client.pull("nope")).rejects.toMatchObject({ code: "ERR_PULL_NOT_FOUND" });
    await expect(t.client.cancelPull("nope")).rejects.toMatchObject({ code: "ERR_PULL_NOT_FOUND" });
    const events = t.client.events({ pull: "nope" })[Symbol.asyncIterator]();
    await expect(events.next()).rejects.toMatchObject({ code: "ERR_PULL_NOT_FOUND" });
  });

  it("makes a site, and joins another", async () => {
    const token = await t.client.token();
    expect(await t.client.token()).toBe(token);
    expect((await t.client.status()).swarm).not.toEqual([]);
    await expect(t.client.join({ token: "shoal1-typo" })).rejects.toMatchObject({
      code: "ERR_TOKEN_INVALID",
    });
    await using other = await createTestDaemon();
    await using otherClient = createApiClient({ socketPath: other.socket });
    const { site } = await t.client.status();
    expect(await otherClient.join({ token })).toEqual({ outcome: "joined", site });
    expect(await otherClient.join({ token })).toEqual({ outcome: "already-member", site });
    expect(await otherClient.token()).toBe(token);
    expect(await otherClient.peers()).toMatchObject({ peers: [] });
  });

  it("leaves a site for another only when told to", async () => {
    const token = await t.client.token();
    const { site: left } = await t.client.status();
    const request = { token: createSiteToken() };
    await expect(t.client.join(request)).rejects.toMatchObject({
      code: "ERR_SITE_MEMBER",
      details: { site: left },
    });
    expect(await t.client.token()).toBe(token);
    const moved = await t.client.join({ ...request, replace: true });
    expect(moved).toMatchObject({ outcome: "moved", left });
    expect(await t.client.status()).toMatchObject({ site: moved.site });
    expect(await t.client.token()).toBe(request.token);
  });

  it("makes one site, however many ask for its token at once", async () => {
    const tokens = await Promise.all(Array.from({ length: 8 }, async () => await t.client.token()));
    expect(new Set(tokens).size).toBe(1);
    expect(await t.client.token()).toBe(tokens[0]);
  });

  it("does not take a living daemon's socket, and replaces a dead one's", async () => {
    const environment = { env: {}, uid: 0 };
    const configuration = { ...t.daemon.configuration, state: `${t.daemon.configuration.state}2` };
    await expect(
      startDaemon({ logger: silentLogger, environment }, configuration),
    ).rejects.toMatchObject({
      code: "ERR_SOCKET_IN_USE",
    });
    expect((await t.client.status()).version).toBeTruthy();
  });

  it("answers junk with an error and lives on", async () => {
    for (const junk of [
      "\0\0\0",
      "POST /v1/pulls HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n{{{",
      "GET /v9 HTTP/1.1\r\nhost: x\r\n\r\n",
      "GET // HTTP/1.1\r\nhost: x\r\n\r\n",
      "GET // HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ]) {
      const reply = await new Promise<string>((resolve) => {
        const socket = connect(t.daemon.socket);
        socket.on("data", (chunk) => {
          resolve(chunk.toString());
          socket.destroy();
        });
        socket.on("error", () => resolve("error"));
        socket.write(junk);
      });
      expect(reply).toMatch(/^HTTP\/1.1 4/);
    }
    expect((await t.client.status()).transfers).toBe(0);
  });

  it.each([
    ["host: evil.example", 403],
    ["host: 203.0.113.9", 403],
    ["host: localhost\r\norigin: https://evil.example", 403],
    ["host: localhost\r\nsec-fetch-site: cross-site", 403],
    ["host: localhost", 200],
    ["host: shoal", 200],
  ])("answers %j with %i, to a WebSocket as well", async (headers, status) => {
    const key = Buffer.alloc(16).toString("base64");
    const upgrade = `connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n`;
    const begin = async (rest: string): Promise<string> =>
      await new Promise((resolve, reject) => {
        const socket = connect(t.daemon.socket);
        socket.once("data", (chunk) => {
          resolve(chunk.toString().slice(9, 12));
          socket.destroy();
        });
        socket.once("error", reject);
        socket.write(rest);
      });
    expect(await begin(`GET /v1/status HTTP/1.1\r\n${headers}\r\n\r\n`)).toBe(`${status}`);
    const listening = await begin(`GET /v1/events HTTP/1.1\r\n${headers}\r\n${upgrade}\r\n`);
    expect(listening).toBe(status === 200 ? "101" : "403");
  });

  it("outlives a listener that breaks off in the handshake", async () => {
    for (let round = 0; round < 20; round++)
      await new Promise<void>((resolve) => {
        const socket = connect(t.daemon.socket, () => {
          socket.write(
            "GET /v1/events?pull=none HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            () => socket.destroy(),
          );
        });
        socket.once("close", () => resolve());
      });
    expect((await t.client.status()).transfers).toBe(0);
  });

  it("stops within seconds though a listener is silent", async () => {
    const stopping = await createTestDaemon();
    const socket = connect(stopping.socket);
    socket.write(
      `GET /v1/events HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${Buffer.alloc(16).toString("base64")}\r\n\r\n`,
    );
    await once(socket, "data");
    socket.pause();
    const startMs = performance.now();
    await stopping[Symbol.asyncDispose]();
    expect(performance.now() - startMs).toBeLessThan(3000);
    socket.destroy();
  });

  it("serves metrics that say what was done", async () => {
    t.daemon.registry.addImage("app", "v1", [1000]);
    await (await fetch(t.daemon.url("app/manifests/v1"))).arrayBuffer();
    const text = await (await fetch(`${t.daemon.metrics}/metrics`)).text();
    expect(text).toMatch(/shoal_mirror_requests_total\{kind="manifest",status="2xx"\} 1/);
    expect(text).toMatch(/shoal_build_info\{version="[0-9.]+"\} 1/);
    expect(await (await fetch(`${t.daemon.metrics}/livez`)).text()).toBe("ok\n");
  });
});
