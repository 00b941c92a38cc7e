import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { digestOf } from "@shoal/oci";
import { noMetrics, raceSignal, silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createClientSightings } from "../src/mirror/clients.ts";
import { createMirrorMetrics } from "../src/mirror/metrics.ts";
import { createMirror } from "../src/mirror/mirror.ts";

describe("a mirror whose registry is silent", () => {
  const clock = createManualClock();
  const blob = Buffer.alloc(100_000, "b");
  const digest = digestOf(blob);
  let base = "";
  let asked = Promise.withResolvers<void>();
  let rest = Promise.withResolvers<void>();

  async function silence(options: { readonly signal?: AbortSignal | undefined } = {}) {
    asked.resolve();
    return await raceSignal(new Promise<never>(() => undefined), options.signal);
  }
  const mirror = createMirror({
    swarm: {
      resolve: async (_repository, _name, options) => await silence(options),
      stat: async (_request, options) => await silence(options),
      async open(request, options) {
        if (request.digest !== digest) return await silence(options);
        return {
          digest,
          sizeBytes: blob.length,
          committed: false,
          progress: () => ({
            sizeBytes: blob.length,
            arrivedBytes: 0,
            fromUpstreamBytes: 0,
            fromPeersBytes: 0,
            fromStoreBytes: 0,
          }),
          async *stream(_range, { signal } = {}) {
            asked.resolve();
            await raceSignal(rest.promise, signal);
            yield Uint8Array.from(blob);
          },
          finished: async () => undefined,
          [Symbol.asyncDispose]: async () => undefined,
        };
      },
    },
    names: { resolved: () => undefined },
    documents: {
      tags: async (_repository, _query, options) => await silence(options),
      referrers: async (_repository, _digest, _query, options) => await silence(options),
    },
    clock,
    logger: silentLogger,
    metrics: createMirrorMetrics(noMetrics),
    clients: createClientSightings(clock),
  });
  const server = createServer((request, response) => void mirror(request, response));

  beforeEach(async () => {
    asked = Promise.withResolvers();
    rest = Promise.withResolvers();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/app`;
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });

  it.each(["manifests/v1", `blobs/${digestOf(Buffer.from("x"))}`, "tags/list"])(
    "answers %s before engines give up",
    async (path) => {
      const answer = fetch(`${base}/${path}`);
      await asked.promise;
      clock.advance(25_000);
      const response = await answer;
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({
        errors: [
          {
            code: "UNAVAILABLE",
            message: expect.stringMatching(/^\[ERR_MIRROR_TIMEOUT\].*pull again$/) as never,
          },
        ],
      });
    },
  );

  it("sends a blob's headers after 10 s, and lets its body take longer than any deadline", async () => {
    const answer = fetch(`${base}/blobs/${digest}`);
    await asked.promise;
    clock.advance(10_000);
    const response = await answer;
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe(String(blob.length));
    clock.advance(3_600_000);
    rest.resolve();
    expect((await response.arrayBuffer()).byteLength).toBe(blob.length);
  });
});
