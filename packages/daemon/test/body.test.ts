import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { finished } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { clientAbort } from "../src/mirror/answers.ts";
import { BodyCut, sendBody } from "../src/mirror/body.ts";

const MIB = 1024 * 1024;

interface Sending extends AsyncDisposable {
  /** What came of it. */
  readonly sent: Promise<void>;
  get(): Promise<IncomingMessage>;
}

/** A server that sends a body to whoever asks. */
async function serve(
  chunks: AsyncIterable<Uint8Array>,
  lengthBytes: number,
  readAhead = true,
): Promise<Sending> {
  const { promise, resolve } = Promise.withResolvers<void>();
  promise.catch(() => undefined);
  const server = createServer((asked, response) => {
    const sent = sendBody(response, {
      status: 200,
      headers: { "content-length": lengthBytes },
      chunks,
      mayReadAhead: () => readAhead,
      clock: systemClock,
      signal: clientAbort(asked, response).signal,
      onBytes: () => undefined,
    });
    resolve(sent);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    sent: promise,
    async get() {
      const asking = request({ port, host: "127.0.0.1" }).end();
      const [response] = (await once(asking, "response")) as [IncomingMessage];
      return response;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe("a body", () => {
  it("gives back the memory of each chunk that has gone out, and no other", async () => {
    const whole = new Uint8Array(3 * MIB).fill(1);
    const own = new Uint8Array(MIB).fill(2);
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield whole.subarray(0, MIB);
      yield own;
      yield whole.subarray(2 * MIB);
    }
    const expected = Buffer.concat([whole.subarray(0, MIB), own, whole.subarray(2 * MIB)]);
    await using body = await serve(chunks(), 3 * MIB);
    expect((await buffer(await body.get())).equals(expected)).toBe(true);
    await body.sent;
    expect([own.length, whole.length]).toEqual([0, 3 * MIB]);
  });

  it.each([
    [true, 2],
    [false, 1],
  ])("may read one chunk ahead (%j) of a client that takes nothing", async (readAhead, ahead) => {
    let read = 0;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      // More than what the kernel keeps of a connection.
      for (; read < 3; ) {
        read += 1;
        yield new Uint8Array(32 * MIB);
      }
    }
    await using body = await serve(chunks(), 96 * MIB, readAhead);
    const response = await body.get();
    while (read < ahead) await delay(5);
    await delay(100);
    expect(read).toBe(ahead);
    let lengthBytes = 0;
    for await (const chunk of response) lengthBytes += (chunk as Buffer).length;
    expect(lengthBytes).toBe(96 * MIB);
  });

  it("ends short when the chunk that was read ahead fails, after all that came before", async () => {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(2 * MIB);
      throw new Error("the disk");
    }
    await using body = await serve(chunks(), 3 * MIB);
    const response = await body.get();
    let lengthBytes = 0;
    response.on("data", (chunk: Buffer) => (lengthBytes += chunk.length));
    await expect(finished(response)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect([lengthBytes, response.complete]).toEqual([2 * MIB, false]);
    await expect(body.sent).rejects.toBeInstanceOf(BodyCut);
  });

  it("lets go of what it reads when the client leaves", async () => {
    const closed = Promise.withResolvers<void>();
    async function* chunks(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(32 * MIB);
      } finally {
        closed.resolve();
      }
    }
    await using body = await serve(chunks(), 1024 * MIB);
    (await body.get()).destroy();
    await closed.promise;
    await expect(body.sent).rejects.toBeInstanceOf(BodyCut);
  });
});
