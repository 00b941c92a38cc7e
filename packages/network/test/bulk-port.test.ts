import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { connect, type TLSSocket } from "node:tls";
import type { Connection } from "@libp2p/interface";
import { describe, expect, it } from "vitest";
import { type BulkGrant, decodeGrant } from "../src/bulk-keys.ts";
import { BULK_CIPHER } from "../src/bulk-server.ts";
import { frameStream } from "../src/frames.ts";
import { createSiteToken, type Network, type SiteToken, siteOf } from "../src/index.ts";
import { createRogue, LIMITS } from "./rogue.ts";
import { createMember, createStranger, multiaddrOf, until } from "./support.ts";

const REQUEST = Buffer.from([0, 0, 0, 1, 7]);

async function askKey(connection: Connection): Promise<BulkGrant> {
  const stream = frameStream(await connection.newStream("/shoal/bulk-key/1"), LIMITS);
  await stream.write([]);
  return decodeGrant((await stream.read())!);
}

/** Opens a connection with whatever key; resolves when the handshake is over. */
async function open({ port, identity, key }: Omit<BulkGrant, "lifetimeMs">): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port,
    ciphers: BULK_CIPHER,
    minVersion: "TLSv1.3",
    pskCallback: () => ({ psk: key, identity }),
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect", { signal: AbortSignal.timeout(3000) });
  socket.on("error", () => undefined);
  return socket;
}

/** The bytes that are answered until the connection ends. */
async function answered(socket: TLSSocket, request: Uint8Array): Promise<number> {
  let count = 0;
  socket.on("data", (chunk) => (count += chunk.length));
  socket.write(request);
  await Promise.race([once(socket, "close"), delay(1000)]);
  return count;
}

async function createEchoing(): Promise<{ member: Network; token: SiteToken }> {
  const token = createSiteToken();
  const member = await createMember({ token, bulkPort: 0 });
  member.handle(async (peer, lane, frame) => [Buffer.from(`${peer} ${lane}`), frame]);
  return { member, token };
}

describe("the bulk port", () => {
  it("answers the holder of a key as the member that it was granted to", async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const socket = await open(await askKey(rogue.connection));
    const heard = once(socket, "data");
    socket.write(REQUEST);
    const [answer] = (await heard) as [Buffer];
    expect(answer.subarray(4).toString()).toBe(`${rogue.peer} bulk\x07`);
    socket.destroy();
  });

  it("lets nobody in with a wrong key, an unknown name, or none", async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const grant = await askKey(rogue.connection);
    const wrong = [
      { ...grant, key: new Uint8Array(32) },
      { ...grant, identity: "0".repeat(32) },
      { ...grant, identity: "" },
    ];
    for (const other of wrong) await expect(open(other)).rejects.toThrow();
    const certain = connect({ host: "127.0.0.1", port: grant.port, rejectUnauthorized: false });
    await expect(once(certain, "secureConnect")).rejects.toThrow();
  });

  it("gives a stranger that knows the prologue no key", async () => {
    const token = createSiteToken();
    await using member = await createMember({ token, bulkPort: 0 });
    const stranger = await createStranger(siteOf(token).prologue);
    const connection = await stranger.dial(multiaddrOf(member));
    await expect(askKey(connection)).rejects.toThrow();
    await stranger.stop();
  });

  it("closes on a key whose member has gone, and lets it in no more", async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    const rogue = await createRogue(member, token);
    const grant = await askKey(rogue.connection);
    const socket = await open(grant);
    const closed = once(socket, "close");
    socket.resume();
    await rogue[Symbol.asyncDispose]();
    await closed;
    await expect(open(grant)).rejects.toThrow();
  });

  it("answers nothing on a connection whose key has ended", async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const socket = await open(await askKey(rogue.connection));
    // A member has two keys at most.
    await askKey(rogue.connection);
    await askKey(rogue.connection);
    expect(await answered(socket, REQUEST)).toBe(0);
    expect(socket.destroyed).toBe(true);
  });

  it("has its member cut for a frame over the limit", async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const socket = await open(await askKey(rogue.connection));
    const head = Buffer.alloc(4);
    head.writeUInt32BE(64 * 1024 + 1);
    socket.write(head);
    await until(() => member.members().length === 0);
  });

  it("takes no more than 16 connections of a member", async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const grant = await askKey(rogue.connection);
    let heard = 0;
    const sockets = await Promise.all(Array.from({ length: 24 }, async () => await open(grant)));
    for (const socket of sockets) {
      socket.on("data", () => (heard += 1));
      socket.write(REQUEST);
    }
    await delay(300);
    expect(heard).toBe(16);
    for (const socket of sockets) socket.destroy();
  });

  it.each([
    ["stays silent on", false],
    ["leaves", true],
  ])("lets members in while an address %s ever more connections", async (_what, leaves) => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const grant = await askKey(rogue.connection);
    const flood = Array.from({ length: 150 }, () => {
      const socket = connectTcp({ host: "127.0.0.1", port: grant.port, localAddress: "127.0.0.2" });
      socket.on("error", () => undefined);
      if (leaves) socket.once("connect", () => socket.destroy());
      return socket;
    });
    await delay(300);
    const socket = await open(grant);
    expect(socket.isSessionReused()).toBe(true);
    for (const each of [socket, ...flood]) each.destroy();
  });

  it("closes on who is silent in the handshake", { timeout: 10_000 }, async () => {
    const { member, token } = await createEchoing();
    await using _member = member;
    await using rogue = await createRogue(member, token);
    const { port } = await askKey(rogue.connection);
    const silent = connectTcp(port, "127.0.0.1").resume();
    const garbage = connectTcp(port, "127.0.0.1").resume();
    for (const socket of [silent, garbage]) socket.on("error", () => undefined);
    garbage.write("GET / HTTP/1.1\r\n\r\n");
    await until(() => silent.destroyed && garbage.destroyed, 8000);
  });
});

describe("a member whose bulk port can't be reached", () => {
  it("is asked over libp2p", async () => {
    const token = createSiteToken();
    await using member = await createMember({ token, bulkPort: 0 });
    await using rogue = await createRogue(member, token);
    let asked = 0;
    await rogue.host.handle("/shoal/bulk-key/1", (stream) => {
      asked += 1;
      stream.send(Buffer.from([0, 0, 0, 0]));
    });
    await rogue.host.handle("/shoal/bulk/1", (stream) => {
      stream.addEventListener("message", () => stream.send(REQUEST));
    });
    for (let i = 0; i < 3; i++)
      expect(await member.request(rogue.peer, "bulk", new Uint8Array(9))).toHaveLength(1);
    expect(asked).toBe(1);
  });
});
