import { once } from "node:events";
import type { RequestListener } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type HttpLimits, listenHttp } from "../src/listening.ts";

const MIB = 1024 * 1024;
const LIMITS: HttpLimits = {
  headersMs: 300,
  requestMs: 600,
  keepAliveMs: 60_000,
  stalledMs: 60_000,
  checkMs: 20,
  connections: 3,
};
/** A busy machine is late. */
const LATE_MS = 3000;

/** One connection, and what came over it. */
interface Client extends Disposable {
  readonly socket: Socket;
  text(): string;
  /** Until the server has closed the connection. Milliseconds. */
  readonly openMs: Promise<number>;
}

async function serve(
  limits: Partial<HttpLimits> = {},
  answer: RequestListener = (_request, response) => response.end("here"),
) {
  const listening = await listenHttp(answer, {
    addresses: ["127.0.0.1:0"],
    setting: "mirror.listen",
    graceMs: 0,
    limits: { ...LIMITS, ...limits },
  });
  const port = Number(listening.addresses[0]!.split(":")[1]);
  return {
    async open(): Promise<Client> {
      const socket = connect(port, "127.0.0.1");
      let text = "";
      socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
      socket.on("error", () => undefined);
      await once(socket, "connect");
      const startMs = performance.now();
      const openMs = new Promise<void>((resolve) => socket.once("close", resolve)).then(
        () => performance.now() - startMs,
      );
      return { socket, text: () => text, openMs, [Symbol.dispose]: () => socket.destroy() };
    },
    [Symbol.asyncDispose]: async () => await listening[Symbol.asyncDispose](),
  };
}

const HEAD = "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n";

describe.concurrent("what a client may take of the mirror's server", () => {
  it("closes a connection on which nothing is ever asked", async () => {
    await using server = await serve();
    using client = await server.open();
    const openMs = await client.openMs;
    expect(openMs).toBeGreaterThan(290);
    expect(openMs).toBeLessThan(LATE_MS);
  });

  it.each([
    ["first", ""],
    ["second", HEAD],
  ])("closes one whose %s headers come a byte at a time", async (_which, before) => {
    await using server = await serve();
    using client = await server.open();
    client.socket.write(`${before}HEAD / HTTP/1.1\r\nX: `);
    const dribble = setInterval(() => client.socket.write("x"), 20);
    const openMs = await client.openMs;
    clearInterval(dribble);
    expect(openMs).toBeGreaterThan(290);
    expect(openMs).toBeLessThan(LATE_MS);
    expect(client.text()).toMatch(/HTTP\/1\.1 408 /);
  });

  it("takes headers that are whole just in time", async () => {
    await using server = await serve({ headersMs: 2000, requestMs: 4000 });
    using client = await server.open();
    client.socket.write(HEAD.slice(0, -1));
    await delay(200);
    client.socket.write(HEAD.slice(-1));
    await delay(100);
    expect(client.text()).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("keeps an idle connection longer than headers may take", async () => {
    await using server = await serve();
    using client = await server.open();
    client.socket.write(HEAD);
    await delay(800);
    client.socket.write(HEAD);
    await delay(100);
    expect(client.text().match(/HTTP\/1\.1 200 /g)).toHaveLength(2);
  });

  it("closes an idle connection when its time is up", async () => {
    await using server = await serve({ keepAliveMs: 300 });
    using client = await server.open();
    client.socket.write(HEAD);
    expect(await client.openMs).toBeLessThan(LATE_MS);
    expect(client.text()).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("takes 64 KiB of headers, and refuses more", async () => {
    await using server = await serve();
    const asked = async (lengthBytes: number): Promise<string> => {
      using client = await server.open();
      const start = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: ";
      client.socket.write(`${start}${"x".repeat(lengthBytes)}\r\n\r\n`);
      await client.openMs;
      return client.text();
    };
    expect(await asked(64 * 1024 - 200)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await asked(64 * 1024 + 200)).toMatch(/^HTTP\/1\.1 431 /);
  });

  it("closes one connection too many at once, and takes another when one has gone", async () => {
    await using server = await serve({ headersMs: 60_000, requestMs: 60_000 });
    const clients = [await server.open(), await server.open(), await server.open()];
    using refused = await server.open();
    expect(await refused.openMs).toBeLessThan(LATE_MS);
    expect(refused.text()).toBe("");
    clients[0]!.socket.destroy();
    await delay(100);
    using taken = await server.open();
    taken.socket.write(HEAD);
    await delay(100);
    expect(taken.text()).toMatch(/^HTTP\/1\.1 200 /);
    for (const client of clients) client[Symbol.dispose]();
  });

  it("lets go of a client that takes nothing of its answer, and of no slow one", async () => {
    const closed = Promise.withResolvers<void>();
    await using server = await serve({ stalledMs: 400 }, (_request, response) => {
      response.once("close", closed.resolve);
      response.end(Buffer.alloc(32 * MIB));
    });
    using slow = await server.open();
    let lengthBytes = 0;
    slow.socket.on("data", (chunk: string) => {
      lengthBytes += chunk.length;
      if (lengthBytes < 12 * MIB) {
        slow.socket.pause();
        setTimeout(() => slow.socket.resume(), 4);
      }
    });
    slow.socket.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect(await slow.openMs).toBeGreaterThan(400);
    expect(lengthBytes).toBeGreaterThan(32 * MIB);
    using stalled = await server.open();
    stalled.socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stalled.socket.pause();
    await closed.promise;
  });
});
