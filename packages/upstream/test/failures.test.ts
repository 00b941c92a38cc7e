import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { join } from "node:path";
import { digestOf, parseRegistryHost, parseRepositoryName, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterAll, describe, expect, test } from "vitest";
import { createUpstream, type RegistrySettings } from "../src/index.ts";
import { createScriptedRegistry, createTestCertificates } from "../src/testing.ts";
import { collect, upstreamFor } from "./support.ts";

const certificates = createTestCertificates();
afterAll(() => certificates[Symbol.dispose]());
const TAG = parseTag("v1");

/** Asks a host for a manifest under these settings. */
async function ask(host: string, settings: RegistrySettings): Promise<unknown> {
  await using upstream = upstreamFor([], {
    registries: { [host]: settings },
    timeouts: { headersMs: 150, connectMs: 1000 },
  });
  const repository = { registry: parseRegistryHost(host), name: parseRepositoryName("team/app") };
  return await upstream.manifest(repository, TAG);
}

/** A TCP server that answers whatever it is asked with `greeting`. */
async function rawServer(greeting: string) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => socket.end(greeting));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    host: `127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

describe("a registry", () => {
  test("whose name is unknown is said to be so", async () => {
    await using upstream = createUpstream(
      {
        clock: systemClock,
        logger: silentLogger,
        metrics: noMetrics,
        lookup: (_host, _options, callback) =>
          callback(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []),
      },
      { userAgent: "shoal/test" },
    );
    const repository = {
      registry: parseRegistryHost("registry.example"),
      name: parseRepositoryName("team/app"),
    };
    await expect(upstream.manifest(repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNKNOWN_HOST",
      message:
        "no such host: registry.example; is the name right, and does this machine's DNS work?",
    });
  });

  test("that refuses connections is tried three times", async () => {
    const server = await rawServer("");
    await server[Symbol.asyncDispose]();
    await expect(ask(server.host, {})).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNREACHABLE",
      message: expect.stringContaining("is the registry running") as string,
    });
  });

  test("that stays silent is given up in time", async () => {
    await using server = await createScriptedRegistry();
    server.script(() => ({ delayMs: 5000 }));
    await expect(ask(server.registry, {})).rejects.toMatchObject({ code: "ERR_UPSTREAM_TIMEOUT" });
  });

  test("that hangs up is unreachable, that speaks another language is none", async () => {
    await using silent = await rawServer("");
    await expect(ask(silent.host, {})).rejects.toMatchObject({ code: "ERR_UPSTREAM_UNREACHABLE" });
    await using ssh = await rawServer("SSH-2.0-OpenSSH_9.2\r\n");
    await expect(ask(ssh.host, {})).rejects.toMatchObject({ code: "ERR_UPSTREAM_NOT_A_REGISTRY" });
  });

  test("without TLS where TLS is spoken says how to allow it", async () => {
    await using registry = await createScriptedRegistry();
    await expect(ask(registry.registry, { plainHttp: false })).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TLS",
      message: expect.stringContaining(
        `registries: {"${registry.registry}": {plainHttp: true}}`,
      ) as string,
    });
  });

  test("with TLS where none is spoken is found out", async () => {
    await using registry = await createScriptedRegistry({ tls: certificates });
    await expect(ask(registry.registry, { plainHttp: true })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_UPSTREAM_/) as string,
      message: expect.stringMatching(/TLS|HTTPS/) as string,
    });
  });

  test("of an own authority needs caFile or insecureSkipVerify", async () => {
    await using registry = await createScriptedRegistry({ tls: certificates });
    registry.addImage("team/app", "v1", []);
    const host = registry.registry;
    await expect(ask(host, { plainHttp: false })).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TLS",
      message: expect.stringContaining("caFile") as string,
    });
    await expect(
      ask(host, { plainHttp: false, caFile: certificates.caFile }),
    ).resolves.toBeDefined();
    await expect(ask(host, { plainHttp: false, insecureSkipVerify: true })).resolves.toBeDefined();
    for (const name of ["missing.pem", "leaf.ext"])
      await expect(
        ask(host, { plainHttp: false, caFile: join(certificates.folder, name) }),
      ).rejects.toMatchObject({ code: "ERR_UPSTREAM_TLS" });
  });

  test("that answers with a web page is none", async () => {
    await using registry = await createScriptedRegistry();
    const headers = { "content-type": "text/html; charset=utf-8" };
    registry.script(() => ({ status: 200, headers, body: "<html>Welcome" }));
    await expect(ask(registry.registry, {})).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_A_REGISTRY",
    });
    registry.script(() => ({ status: 404, headers, body: "<html>Not here" }));
    await expect(ask(registry.registry, {})).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
      message: expect.stringContaining("web page") as string,
    });
  });

  test.each([
    [403, "ERR_UPSTREAM_DENIED", 1],
    [404, "ERR_UPSTREAM_NOT_FOUND", 1],
    [418, "ERR_UPSTREAM_STATUS", 1],
    [500, "ERR_UPSTREAM_STATUS", 3],
    [503, "ERR_UPSTREAM_STATUS", 3],
  ])("that answers %s is an %s after %s tries", async (status, code, tries) => {
    await using registry = await createScriptedRegistry();
    const body = JSON.stringify({ errors: [{ code: "SOME", message: "why\u001b[31m" }] });
    registry.script(() => ({ status, body }));
    await expect(ask(registry.registry, {})).rejects.toMatchObject({
      code,
      message: expect.stringContaining("SOME: why [31m") as string,
      details: { status },
    });
    expect(registry.requests.length).toBe(tries);
  });

  test("that fails once is asked again", async () => {
    await using registry = await createScriptedRegistry();
    registry.addImage("team/app", "v1", []);
    registry.script(() => (registry.requests.length === 1 ? { status: 502 } : undefined));
    await expect(ask(registry.registry, {})).resolves.toBeDefined();
    registry.script(() => (registry.requests.length === 3 ? { truncateAfter: 5 } : undefined));
    await expect(ask(registry.registry, {})).resolves.toBeDefined();
    expect(registry.requests.length).toBe(4);
  });
});

test("ECR's 403 for a login older than 12 hours says to log in again", async () => {
  const login = { kind: "basic", username: "AWS", password: "old" } as const;
  await using registry = await createScriptedRegistry({ auth: login });
  const { repository } = registry.addImage("team/app", "v1", [10]);
  registry.script(({ headers }) =>
    headers.authorization === undefined
      ? undefined
      : {
          status: 403,
          body: '{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}',
        },
  );
  await using upstream = upstreamFor([registry], { credentials: { find: async () => login } });
  await expect(upstream.manifest(repository, TAG)).rejects.toMatchObject({
    code: "ERR_UPSTREAM_UNAUTHORIZED",
    message: expect.stringContaining("log in again") as string,
  });
});

describe("a registry that limits requests", () => {
  test.each([
    [429, { "retry-after": "120" }, 120_000],
    [429, {}, 10_000],
    [503, { "retry-after": "30" }, 30_000],
  ])("by %s and %o is left alone for %s ms", async (status, headers, retryAfterMs) => {
    await using registry = await createScriptedRegistry();
    const digest = registry.addBlob(randomBytes(10));
    const repository = registry.repository("team/app");
    await using upstream = upstreamFor([registry]);
    registry.script(() => ({ status, headers }));
    for (let index = 0; index < 2; index += 1)
      await expect(upstream.blob(repository, digest)).rejects.toMatchObject({
        code: "ERR_UPSTREAM_RATE_LIMITED",
        message: expect.stringContaining("login") as string,
      });
    expect(registry.requests.length).toBe(1);
    const [health] = upstream.health();
    expect(health).toMatchObject({
      registry: registry.registry,
      lastErrorCode: "ERR_UPSTREAM_RATE_LIMITED",
    });
    expect(Math.abs(health!.backOffUntilMs! - Date.now() - retryAfterMs)).toBeLessThan(5000);
  });

  test("is asked again when its time has come", async () => {
    await using registry = await createScriptedRegistry();
    const digest = registry.addBlob(randomBytes(10));
    const repository = registry.repository("team/app");
    await using upstream = upstreamFor([registry]);
    registry.script(() => ({ status: 429, headers: { "retry-after": "0" } }));
    await expect(upstream.blob(repository, digest)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_RATE_LIMITED",
      details: { retryAfterMs: 0 },
    });
    registry.script(() => undefined);
    await collect((await upstream.blob(repository, digest)).body);
    expect(upstream.health()).toEqual([{ registry: registry.registry }]);
  });
});

test("health tells of the last failure, not of a missing image", async () => {
  await using registry = await createScriptedRegistry();
  const repository = registry.repository("team/app");
  await using upstream = upstreamFor([registry]);
  await expect(upstream.manifest(repository, TAG)).rejects.toThrow();
  expect(upstream.health()).toEqual([{ registry: registry.registry }]);
  registry.script(() => ({ status: 500 }));
  await expect(upstream.manifest(repository, TAG)).rejects.toThrow();
  expect(upstream.health()).toEqual([
    { registry: registry.registry, lastErrorCode: "ERR_UPSTREAM_STATUS" },
  ]);
});

test("a closed client ends what is under way, and stays closed", async () => {
  await using registry = await createScriptedRegistry();
  const repository = registry.repository("team/app");
  const upstream = upstreamFor([registry]);
  registry.script(() => ({ delayMs: 5000 }));
  const waiting = upstream.manifest(repository, TAG);
  await expect.poll(() => registry.requests.length).toBe(1);
  const [ended] = await Promise.allSettled([waiting, upstream[Symbol.asyncDispose]()]);
  expect(ended).toMatchObject({ status: "rejected", reason: { code: "ERR_UPSTREAM_CLOSED" } });
  await expect(upstream.manifest(repository, TAG)).rejects.toMatchObject({
    code: "ERR_UPSTREAM_CLOSED",
  });
  expect(registry.requests.length).toBe(1);
});

test("an aborted request ends with its signal's reason, before and during", async () => {
  await using registry = await createScriptedRegistry();
  const repository = registry.repository("team/app");
  await using upstream = upstreamFor([registry]);
  const reason = new Error("enough");
  const digest = digestOf(new Uint8Array());
  await expect(
    upstream.blob(repository, digest, { signal: AbortSignal.abort(reason) }),
  ).rejects.toBe(reason);
  expect(registry.requests).toEqual([]);
  registry.script(() => ({ delayMs: 5000 }));
  const controller = new AbortController();
  const waiting = upstream.manifest(repository, TAG, { signal: controller.signal });
  await expect.poll(() => registry.requests.length).toBe(1);
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});
