import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, it } from "vitest";
import { localOnly, type LocalOnlyInit } from "../src/local-only.ts";

/** An address of this machine that is not loopback's, where it has one. */
const OWN = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ internal, family }) => !internal && family === "IPv4")?.address;

async function ask(
  init: LocalOnlyInit,
  address: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ status: number; body: string }> {
  const server = createServer(localOnly(init, (_request, response) => response.end("passed")));
  await new Promise<void>((resolve) => {
    server.listen(0, "0.0.0.0", resolve);
  });
  const { port } = server.address() as AddressInfo;
  try {
    return await new Promise((resolve, reject) => {
      httpRequest(
        { host: address, port, headers: { connection: "close", ...headers } },
        (response) => {
          let body = "";
          response.on("data", (chunk: Buffer) => (body += chunk.toString()));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
        },
      )
        .on("error", reject)
        .end();
    });
  } finally {
    server.close();
  }
}

const MIRROR = { hosts: ["mirror.lan"], setting: "mirror.hosts" };
const METRICS = { hosts: [], setting: "metrics.hosts", byAddress: true };

describe("local only", () => {
  it.each([
    [{ host: "localhost:5055" }, 200],
    [{ host: "mirror.lan" }, 200],
    [{ host: "evil.example" }, 403],
    [{ host: "localhost", origin: "http://localhost:3000" }, 200],
    [{ host: "localhost", origin: "https://evil.example" }, 403],
    [{ host: "localhost", origin: "null" }, 403],
    [{ host: "localhost", "sec-fetch-site": "none" }, 200],
    [{ host: "localhost", "sec-fetch-site": "same-origin" }, 200],
    [{ host: "localhost", "sec-fetch-site": "same-site" }, 403],
    [{ host: "localhost", "sec-fetch-site": "Cross-Site" }, 403],
  ])("answers %j with %i", async (headers, status) => {
    expect((await ask(MIRROR, "127.0.0.1", headers)).status).toBe(status);
  });

  it.each([
    ["localhost", 200],
    ["metrics.lan", 403],
    ["evil.example", 403],
  ])("answers %s with %i to a page that was rebound to the metrics", async (host, status) => {
    expect((await ask(METRICS, "127.0.0.1", { host })).status).toBe(status);
    const foreign = { host: "localhost", origin: `https://${host}` };
    expect((await ask(METRICS, "127.0.0.1", foreign)).status).toBe(status);
  });

  it("names the setting that lets a name in", async () => {
    const { body } = await ask(METRICS, "127.0.0.1", { host: "prometheus.lan" });
    expect(body).toContain("metrics.hosts");
    expect(body).not.toContain("mirror.hosts");
  });

  it.skipIf(OWN === undefined)("knows the address it was reached by, and no other", async () => {
    expect((await ask(METRICS, OWN!, { host: `${OWN}:5057` })).status).toBe(200);
    expect((await ask(MIRROR, OWN!, { host: `${OWN}:5055` })).status).toBe(403);
    expect((await ask(METRICS, "127.0.0.1", { host: `${OWN}:5057` })).status).toBe(403);
    expect((await ask(METRICS, OWN!, { host: "203.0.113.9:5057" })).status).toBe(403);
  });
});
