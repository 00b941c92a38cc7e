import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "./support.ts";

type Headers = Readonly<Record<string, string>>;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

const UPGRADE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==",
};

/** Doors of the daemon, and a request that each answers to a program of this machine. */
const DOORS: Readonly<Record<string, (daemon: TestDaemon) => [object, Headers?]>> = {
  "the mirror": ({ mirror }) => [placeOf(mirror, "/v2/")],
  "the metrics": ({ metrics }) => [placeOf(metrics, "/metrics")],
  health: ({ metrics }) => [placeOf(metrics, "/livez")],
  "the API": ({ socket }) => [{ socketPath: socket, path: "/v1/status" }],
  "the API's token": ({ socket }) => [{ socketPath: socket, path: "/v1/site/token" }],
  "the API's events": ({ socket }) => [{ socketPath: socket, path: "/v1/events" }, UPGRADE],
};

function placeOf(url: string, path: string): object {
  const { hostname, port } = new URL(url);
  return { host: hostname, port, path };
}

describe.each(Object.entries(DOORS))("a web page that asks %s", (_name, door) => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await createTestDaemon();
  });
  afterAll(async () => await daemon[Symbol.asyncDispose]());

  async function ask(headers: Headers): Promise<Answer> {
    const [place, own] = door(daemon);
    return await new Promise((resolve, reject) => {
      const asking = httpRequest({
        ...place,
        headers: { connection: "close", ...own, ...headers },
      });
      asking.on("response", (response) => {
        let body = "";
        response.on("data", (chunk: Buffer) => (body += chunk.toString()));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      });
      asking.on("upgrade", (response, socket) => {
        socket.destroy();
        resolve({ status: 200, headers: response.headers, body: "" });
      });
      asking.on("error", reject).end();
    });
  }

  it.each<[string, Headers]>([
    ["by a name that was rebound", { host: "evil.example" }],
    ["by a name that only begins like loopback's", { host: "127.0.0.1.evil.example" }],
    ["by a name of several labels that has it", { host: "evil.localhost.example" }],
    ["across origins", { host: "localhost", origin: "https://evil.example" }],
    ["from a frame or a file", { host: "localhost", origin: "null" }],
    ["across sites, without an origin", { host: "localhost", "sec-fetch-site": "cross-site" }],
  ])("%s is refused, and told nothing", async (_how, headers) => {
    const { status, body, headers: said } = await ask(headers);
    expect(status).toBe(403);
    if (body !== "") expect(body).toContain("ERR_HOST");
    expect(Object.keys(said).filter((name) => name.startsWith("access-control-"))).toEqual([]);
  });

  it("is let in by nothing else: a program of this machine is answered", async () => {
    for (const host of ["localhost", "127.0.0.1:5055", "[::1]"]) {
      const { status, headers } = await ask({ host });
      expect([host, status]).toEqual([host, 200]);
      expect(headers).not.toHaveProperty("access-control-allow-origin");
    }
  });
});
