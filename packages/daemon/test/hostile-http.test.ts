import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createScriptedRegistry } from "@shoal/upstream/testing";
import { createTestDaemon, type TestDaemon } from "./support.ts";

/** Sends bytes as they are, and gives all that is answered until the server closes or says nothing for a moment. */
async function say(open: () => Socket, bytes: string, quietMs = 300): Promise<string> {
  const socket = open();
  socket.on("error", () => undefined);
  await once(socket, "connect");
  let answered = "";
  const over = Promise.withResolvers<void>();
  let timer = setTimeout(over.resolve, Math.max(5000, quietMs));
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    answered += chunk;
    clearTimeout(timer);
    timer = setTimeout(over.resolve, quietMs);
  });
  socket.on("close", over.resolve);
  socket.write(bytes, "latin1");
  await over.promise;
  clearTimeout(timer);
  socket.destroy();
  return answered;
}

/** The status of each answer, in order. */
function statuses(answered: string): number[] {
  return [...answered.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map((match) => Number(match[1]));
}

let daemon: TestDaemon;
const doors: Record<string, () => Socket> = {};
beforeAll(async () => {
  // A configured registry may send clients to other ports of its own host.
  daemon = await createTestDaemon(
    {},
    { registry: await createScriptedRegistry({ host: "127.0.0.2" }) },
  );
  const { registry } = daemon;
  registry.addImage("team/app", "v1", [Buffer.from("a layer")]);
  const at = (url: string) => () => connect(Number(new URL(url).port), "127.0.0.1");
  doors["mirror"] = at(daemon.mirror);
  doors["metrics"] = at(daemon.metrics);
  doors["API"] = () => connect(daemon.socket);
});
afterAll(async () => await daemon[Symbol.asyncDispose]());

const HEAD = "Host: localhost\r\n";
/** Answered by each door, if anything behind it is asked. */
const SMUGGLED = `GET /v2/smuggled/manifests/v1 HTTP/1.1\r\n${HEAD}\r\n`;

/** Requests of which two servers could see different ends. RFC 9112, sections 2.2, 5.2, 6.1 and 6.3; RFC 9110, 7.2. */
const AMBIGUOUS: readonly (readonly [string, string])[] = [
  [
    "a length and chunks",
    `POST /v1/pulls HTTP/1.1\r\n${HEAD}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    "two lengths",
    `POST /v1/pulls HTTP/1.1\r\n${HEAD}Content-Length: 0\r\nContent-Length: 40\r\n\r\n${SMUGGLED}`,
  ],
  [
    "a length of two values",
    `POST /v1/pulls HTTP/1.1\r\n${HEAD}Content-Length: 0, 40\r\n\r\n${SMUGGLED}`,
  ],
  [
    "a length with a sign",
    `POST /v1/pulls HTTP/1.1\r\n${HEAD}Content-Length: +40\r\n\r\n${SMUGGLED}`,
  ],
  [
    "a coding that is not the last",
    `POST /v1/pulls HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    "a blank before the colon",
    `GET /v2/ HTTP/1.1\r\n${HEAD}Content-Length : 40\r\n\r\n${SMUGGLED}`,
  ],
  [
    "a header that goes on in the next line",
    `GET /v2/ HTTP/1.1\r\nHost: localhost\r\n evil.example\r\nX: y\r\n\tz\r\n\r\n`,
  ],
  ["lines that end without a carriage return", `GET /v2/ HTTP/1.1\nHost: localhost\n\n`],
  ["a carriage return within a header", `GET /v2/ HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n`],
  [
    "a chunk's length that is none",
    `POST /v1/pulls HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`,
  ],
  ["no host", "GET /v2/ HTTP/1.1\r\n\r\n"],
  ["a byte of zero in a header", `GET /v2/ HTTP/1.1\r\n${HEAD}X: a\0b\r\n\r\n`],
];

describe.each(["mirror", "metrics", "API"])("the %s", (door) => {
  it.each(AMBIGUOUS)("refuses %s, and reads nothing after it", async (_what, bytes) => {
    const before = daemon.registry.requests.length;
    const answered = await say(doors[door]!, bytes);
    const [first, ...more] = statuses(answered);
    expect(first === undefined || first >= 400, answered).toBe(true);
    expect(more).toEqual([]);
    expect(daemon.registry.requests.length).toBe(before);
    expect(answered).not.toContain("smuggled");
  });

  it("takes one host, whichever of two is right", async () => {
    for (const hosts of [
      "Host: localhost\r\nHost: evil.example",
      "Host: evil.example\r\nHost: localhost",
    ]) {
      const [status] = statuses(
        await say(doors[door]!, `GET /v1/status HTTP/1.1\r\n${hosts}\r\nConnection: close\r\n\r\n`),
      );
      // Node passes on the first of two; none that is another's is let in.
      if (hosts.startsWith("Host: evil")) expect(status).toBe(403);
      else expect([200, 400, 404]).toContain(status);
    }
  });

  it("answers a target in absolute form by its Host, and tunnels for nobody", async () => {
    const asked = (line: string) =>
      say(doors[door]!, `${line} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n`);
    expect(statuses(await asked("GET http://localhost/v2/"))).toEqual([403]);
    const tunnel = await say(doors[door]!, `CONNECT 169.254.169.254:80 HTTP/1.1\r\n${HEAD}\r\n`);
    expect(
      statuses(tunnel).every((status) => status >= 400),
      tunnel,
    ).toBe(true);
  });
});

/** Ways to say "a folder up" or "another file". */
const TRAVERSALS = [
  "/v2/../../etc/passwd",
  "/v2/%2e%2e/%2e%2e/etc/passwd",
  "/v2/..%2f..%2fetc/manifests/v1",
  "/v2/team/../../../etc/manifests/passwd",
  "/v2/team%2fapp/manifests/v1",
  "/v2/team/app/manifests/..%2f..%2fv1",
  "/v2/team/app/manifests/%2e%2e",
  "/v2/team/app/blobs/sha256:../../../../etc/passwd",
  `/v2/team/app/blobs/sha256:${"a".repeat(63)}/`,
  `/v2/team/app/blobs/sha256:${"A".repeat(64)}`,
  "/v2/team/app/blobs/sha256%253a..",
  "/v2/team/app/manifests/v1%00.json",
  "/v2/team/app;x=1/manifests/v1",
  "/v2/.team/manifests/v1",
];

describe("the mirror", () => {
  it.each(TRAVERSALS)("is led nowhere by %s", async (target) => {
    const before = daemon.registry.requests.length;
    const ns = `ns=${daemon.registry.registry}`;
    const answered = await say(
      doors["mirror"]!,
      `GET ${target}?${ns} HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`,
    );
    expect(statuses(answered)).toEqual([404]);
    expect(answered).not.toContain("root:");
    expect(daemon.registry.requests.length).toBe(before);
  });

  it("takes a target's path alone, without what a URL's own rules take out of it", async () => {
    const asked = (target: string) =>
      say(doors["mirror"]!, `GET ${target} HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`);
    expect(statuses(await asked("//evil.example/v2/"))).toEqual([200]);
    expect(statuses(await asked("/x\\..\\v2/"))).toEqual([200]);
    expect(statuses(await asked("http://evil.example/v2/"))).toEqual([200]);
  });

  it("closes on a request whose headers have no end, and serves others meanwhile", {
    timeout: 20_000,
  }, async () => {
    const slow = say(doors["mirror"]!, `GET /v2/ HTTP/1.1\r\n${HEAD}X: `, 10_000);
    expect((await fetch(`${daemon.mirror}/v2/`)).status).toBe(200);
    expect(statuses(await slow)).toEqual([408]);
  });

  it("takes 64 KiB of headers and no more, also in many", async () => {
    const line = `X: ${"y".repeat(1000)}\r\n`;
    const asked = (lines: number) =>
      say(
        doors["mirror"]!,
        `GET /v2/ HTTP/1.1\r\n${HEAD}Connection: close\r\n${line.repeat(lines)}\r\n`,
      );
    expect(statuses(await asked(60))).toEqual([200]);
    expect(statuses(await asked(70))).toEqual([431]);
  });
});

/** The clouds' metadata services and this machine, in each way to write them that a URL or a socket understands. */
const INSIDE = [
  "169.254.169.254",
  "169.254.169.254:80",
  "2852039166",
  "0xa9fea9fe",
  "0251.0376.0251.0376",
  "169.254.43518",
  "0xa9.254.0251.254",
  "[fd00:ec2::254]",
  "[::ffff:169.254.169.254]",
  "[::ffff:a9fe:a9fe]",
  "[::a9fe:a9fe]",
  "[64:ff9b::a9fe:a9fe]",
  "[64:ff9b:1::a9fe:a9fe]",
  "[2002:a9fe:a9fe::1]",
  "[fe80::1]",
  "127.0.0.1:9",
  "127.1",
  "2130706433",
  "0x7f000001",
  "017700000001",
  "0.0.0.0",
  "[::]",
  "[::1]",
  "[::ffff:7f00:1]",
  "localhost",
  "100.100.100.200",
  "192.168.0.1",
];

describe("an address inside", () => {
  it.each(INSIDE)("is not reached by ns=%s", async (registry) => {
    const response = await fetch(
      `${daemon.mirror}/v2/latest/manifests/meta-data?ns=${encodeURIComponent(registry)}`,
    );
    const { errors } = (await response.json()) as { errors: { message: string }[] };
    expect(response.status).toBeGreaterThanOrEqual(400);
    expect(errors[0]!.message).toMatch(
      /ERR_UPSTREAM_FORBIDDEN_ADDRESS|ERR_REGISTRY_(INVALID|SETTINGS)/,
    );
  });

  it.each(INSIDE)("is not reached by a redirect to %s", async (host) => {
    const { registry } = daemon;
    registry.script(({ path }) =>
      path.includes("/moved/")
        ? { status: 307, headers: { location: `http://${host}/latest/meta-data` } }
        : undefined,
    );
    const response = await fetch(daemon.url("moved/manifests/v1"));
    expect(response.status).toBeGreaterThanOrEqual(400);
    expect(await response.text()).toMatch(/ERR_UPSTREAM_(FORBIDDEN_ADDRESS|REDIRECT)/);
  });

  it.each(INSIDE)("is not reached by a token server at %s", async (host) => {
    const { registry } = daemon;
    registry.script(({ path }) =>
      path.includes("/guarded/")
        ? {
            status: 401,
            headers: { "www-authenticate": `Bearer realm="http://${host}/token",service="x"` },
          }
        : undefined,
    );
    const response = await fetch(daemon.url("guarded/manifests/v1"));
    expect(response.status).toBeGreaterThanOrEqual(400);
    expect(await response.text()).toMatch(/ERR_UPSTREAM_(REALM|FORBIDDEN_ADDRESS)/);
  });
});
