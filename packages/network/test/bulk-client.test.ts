import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type Clock, silentLogger } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { createBulkClient } from "../src/bulk-client.ts";

const LIMITS = { readBytes: 4096, writeBytes: 4096 };

describe("the way to a bulk port that nobody listens on", () => {
  it("is tried again later, by one request at a time, with a new key", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    let now = 0;
    let asked = 0;
    let failed = Promise.withResolvers<void>();
    const clock = { now: () => now } as Clock;
    const client = createBulkClient({
      host: "127.0.0.1",
      limits: LIMITS,
      connections: 8,
      clock,
      onChange: () => undefined,
      logger: { ...silentLogger, info: () => failed.resolve() },
      async askGrant() {
        asked += 1;
        const identity = "0".repeat(32);
        return await Promise.resolve({
          port,
          identity,
          key: new Uint8Array(32),
          lifetimeMs: 3_600_000,
        });
      },
    });
    // Those that were begun together fail together.
    const allFailed = async (): Promise<void> => {
      await failed.promise;
      await delay(50);
    };
    const takeAll = (): void => {
      failed = Promise.withResolvers();
      for (let i = 0; i < 8; i++) expect(client.take()).toBeUndefined();
    };
    takeAll();
    await allFailed();
    expect(asked).toBe(1);
    now = 1999;
    takeAll();
    expect(asked).toBe(1);
    // However many failed together, the next try is 2 s later, and then 4 s.
    now = 2000;
    takeAll();
    await allFailed();
    expect(asked).toBe(2);
    now = 5999;
    takeAll();
    expect(asked).toBe(2);
    now = 6000;
    takeAll();
    await allFailed();
    expect(asked).toBe(3);
  });
});
