import { randomBytes } from "node:crypto";
import { parseRegistryHost, parseRepositoryName, parseTag, type Repository } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { createUpstream, type UpstreamInit } from "../src/index.ts";
import { createProxyChoice, isDirect } from "../src/proxy.ts";
import {
  createScriptedRegistry,
  createTestCertificates,
  type ScriptedRegistry,
} from "../src/testing.ts";
import { createScriptedProxy } from "./scripted-proxy.ts";
import { collect } from "./support.ts";

const certificates = createTestCertificates();
afterAll(() => certificates[Symbol.dispose]());
const TAG = parseTag("v1");

function upstreamWith(init: Partial<UpstreamInit>) {
  return createUpstream(
    {
      clock: systemClock,
      logger: silentLogger,
      metrics: noMetrics,
      lookup: (_host, _options, callback) => callback(new Error("nothing is looked up here"), []),
    },
    { userAgent: "shoal/test", retry: { tries: 1, baseMs: 1 }, ...init },
  );
}

/** The registry under a name that the proxy alone knows. */
function at(name: string, registry: ScriptedRegistry): Repository {
  const port = registry.registry.split(":")[1]!;
  return {
    registry: parseRegistryHost(`${name}:${port}`),
    name: parseRepositoryName("team/app"),
  };
}

const overTls = () => ({ caFile: certificates.caFile });

describe("through a proxy", () => {
  test("a registry over TLS is reached by CONNECT, and all goes through the tunnel", async () => {
    await using registry = await createScriptedRegistry({ tls: certificates });
    await using proxy = await createScriptedProxy({ resolve: "127.0.0.1" });
    const image = registry.addImage("team/app", "v1", [10, 200_000]);
    const bytes = randomBytes(300_000);
    const digest = registry.addBlob(bytes);
    // A name of the certificate, that the environment would not lead to a proxy.
    const repository = at("localhost", registry);
    await using upstream = upstreamWith({
      registries: { [repository.registry]: { ...overTls(), plainHttp: false, proxy: proxy.host } },
    });
    expect((await upstream.manifest(repository, TAG)).digest).toBe(image.digest);
    expect((await collect((await upstream.blob(repository, digest)).body)).equals(bytes)).toBe(
      true,
    );
    expect(new Set(proxy.asked.map(({ what }) => what))).toEqual(
      new Set([`CONNECT ${repository.registry}`]),
    );
  });

  test("a registry over plain HTTP is asked for by whole URLs, and never sees the proxy's login", async () => {
    await using registry = await createScriptedRegistry();
    await using proxy = await createScriptedProxy({ login: "me:p@ss", resolve: "127.0.0.1" });
    const image = registry.addImage("team/app", "v1", []);
    const repository = at("registry.example", registry);
    await using upstream = upstreamWith({
      registries: { [repository.registry]: { plainHttp: true } },
      proxyEnvironment: { http_proxy: `http://me:p%40ss@${proxy.host}` },
    });
    expect((await upstream.manifest(repository, TAG)).digest).toBe(image.digest);
    expect(proxy.asked.map(({ what }) => what)).toEqual([
      `GET http://${repository.registry}/v2/team/app/manifests/v1`,
    ]);
    expect(registry.requests.map(({ headers }) => headers.host)).toEqual([repository.registry]);
    expect(registry.requests[0]!.headers).not.toHaveProperty("proxy-authorization");
  });

  test("that speaks TLS itself, a registry is reached", async () => {
    await using registry = await createScriptedRegistry({ tls: certificates });
    await using proxy = await createScriptedProxy({ tls: certificates });
    registry.addImage("team/app", "v1", []);
    const repository = at("localhost", registry);
    await using upstream = upstreamWith({
      registries: {
        [repository.registry]: {
          ...overTls(),
          plainHttp: false,
          proxy: `https://${proxy.host}`,
        },
      },
    });
    await expect(upstream.manifest(repository, TAG)).resolves.toBeDefined();
    expect(proxy.asked).toEqual([{ what: `CONNECT ${repository.registry}`, login: undefined }]);
  });

  test("or without one, timeouts are those of the registry", async () => {
    await using registry = await createScriptedRegistry();
    registry.script(() => ({ delayMs: 2_000 }));
    const repository = registry.repository("team/app");
    await using upstream = upstreamWith({
      registries: { [repository.registry]: { headersTimeoutSeconds: 0.1 } },
    });
    const startedMs = performance.now();
    await expect(upstream.manifest(repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TIMEOUT",
    });
    expect(performance.now() - startedMs).toBeLessThan(1_900);
  });

  test.each([
    ["an own setting of none", { proxy: "none" }, {}],
    ["NO_PROXY", {}, { No_Proxy: "registry.example" }],
  ])("nothing goes with %s", async (_name, settings, env) => {
    await using registry = await createScriptedRegistry();
    await using proxy = await createScriptedProxy({ resolve: "127.0.0.1" });
    const repository = at("registry.example", registry);
    await using upstream = upstreamWith({
      registries: { [repository.registry]: { plainHttp: true, ...settings } },
      proxyEnvironment: { HTTP_PROXY: `http://${proxy.host}`, ...env },
    });
    await expect(upstream.manifest(repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNREACHABLE",
    });
    expect(proxy.asked).toEqual([]);
  });

  test("an address inside is refused still, and a name is the proxy's to judge", async () => {
    await using proxy = await createScriptedProxy({ refuse: 403 });
    await using upstream = upstreamWith({
      proxyEnvironment: { HTTPS_PROXY: proxy.host, HTTP_PROXY: proxy.host },
    });
    for (const host of ["10.0.0.1", "169.254.169.254", "127.0.0.1:5000"])
      await expect(
        upstream.manifest(
          { registry: parseRegistryHost(host), name: parseRepositoryName("a/b") },
          TAG,
        ),
      ).rejects.toMatchObject({ code: "ERR_UPSTREAM_FORBIDDEN_ADDRESS" });
    expect(proxy.asked).toEqual([]);
    await expect(
      upstream.manifest(
        { registry: parseRegistryHost("registry.example"), name: parseRepositoryName("a/b") },
        TAG,
      ),
    ).rejects.toMatchObject({ code: "ERR_UPSTREAM_PROXY" });
    expect(proxy.asked).toEqual([{ what: "CONNECT registry.example:443", login: undefined }]);
  });
});

describe("a proxy", () => {
  const cases: readonly [
    string,
    { readonly login?: string; readonly refuse?: number },
    string,
    string,
    string,
  ][] = [
    ["wants a login", { login: "me:secret" }, "", "ERR_UPSTREAM_PROXY", "wants a login"],
    [
      "does not know the login",
      { login: "me:secret" },
      "me:wrong@",
      "ERR_UPSTREAM_PROXY",
      "does not accept the login",
    ],
    ["refuses a host", { refuse: 403 }, "", "ERR_UPSTREAM_PROXY", "proxy: none"],
    ["cannot reach a host", { refuse: 503 }, "", "ERR_UPSTREAM_UNREACHABLE", "cannot reach"],
  ];
  test.each(cases)("that %s is told of", async (_name, init, login, code, message) => {
    await using proxy = await createScriptedProxy(init);
    await using upstream = upstreamWith({
      proxyEnvironment: { HTTPS_PROXY: `http://${login}${proxy.host}` },
    });
    const error: unknown = await upstream
      .manifest(
        { registry: parseRegistryHost("registry.example"), name: parseRepositoryName("a/b") },
        TAG,
      )
      .catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) as string });
    expect(JSON.stringify(error)).not.toContain("wrong");
    expect(String(error)).not.toContain("wrong");
  });

  test("that wants a login for plain HTTP is told of", async () => {
    await using proxy = await createScriptedProxy({ login: "me:secret" });
    await using upstream = upstreamWith({
      registries: { "registry.example": { plainHttp: true, proxy: proxy.host } },
    });
    await expect(
      upstream.manifest(
        { registry: parseRegistryHost("registry.example"), name: parseRepositoryName("a/b") },
        TAG,
      ),
    ).rejects.toMatchObject({ code: "ERR_UPSTREAM_PROXY" });
  });

  test.each([true, false])("that is not there is told of, plain HTTP: %s", async (plainHttp) => {
    const proxy = await createScriptedProxy();
    await proxy[Symbol.asyncDispose]();
    await using upstream = upstreamWith({
      registries: { "registry.example": { plainHttp, proxy: proxy.host } },
    });
    await expect(
      upstream.manifest(
        { registry: parseRegistryHost("registry.example"), name: parseRepositoryName("a/b") },
        TAG,
      ),
    ).rejects.toMatchObject({
      code: "ERR_UPSTREAM_PROXY",
      message: expect.stringContaining("ECONNREFUSED") as string,
    });
  });

  test.each(["socks5://10.0.0.1:1080", "http://", "http://me:secret@10.0.0.1/path"])(
    "cannot be %s, and its login is not shown",
    (text) => {
      for (const init of [
        { proxyEnvironment: { https_proxy: text } },
        { registries: { "registry.example": { proxy: text } } },
      ])
        expect(() => upstreamWith(init)).toThrowError(
          expect.objectContaining({
            code: "ERR_REGISTRY_SETTINGS",
            message: expect.not.stringContaining("secret") as string,
          }) as Error,
        );
    },
  );
});

describe("NO_PROXY", () => {
  test.each([
    ["*", "https://any.example/", true],
    ["", "https://any.example/", false],
    ["", "http://localhost:5000/", true],
    ["", "http://127.1.2.3/", true],
    ["", "http://[::1]:5000/", true],
    ["example.com", "https://example.com/", true],
    ["example.com", "https://sub.example.com/", true],
    ["example.com", "https://badexample.com/", false],
    [".example.com", "https://sub.example.com/", true],
    [".example.com", "https://example.com/", false],
    ["*.example.com", "https://a.b.example.com/", true],
    ["EXAMPLE.com", "https://example.COM./", true],
    ["example.com:5000", "https://example.com:5000/", true],
    ["example.com:5000", "https://example.com/", false],
    ["example.com:443", "https://example.com/", true],
    ["10.0.0.0/8", "https://10.1.2.3/", true],
    ["10.0.0.0/8", "https://11.1.2.3/", false],
    ["10.0.0.0/8", "https://ten.example/", false],
    ["fd00::/8", "https://[fd00::1]/", true],
    ["10.0.0.1", "https://10.0.0.1:5000/", true],
    ["10.0.0.1:5000", "https://10.0.0.1:5001/", false],
    ["::ffff:10.0.0.1", "https://10.0.0.1/", true],
    ["[fd00::1]:5000", "https://[fd00::1]:5000/", true],
    ["fd00::1", "https://[fd00::1]:5000/", true],
    ["a.example, b.example\tc.example", "https://c.example/", true],
    ["10.0.0.0/99", "https://10.0.0.1/", false],
  ])("%j for %s: %s", (exceptions, url, direct) => {
    expect(isDirect(new URL(url), exceptions)).toBe(direct);
  });

  test("never fails, whatever it holds", () => {
    const url = new URL("https://10.0.0.1/");
    fc.assert(
      fc.property(fc.string(), (exceptions) => {
        isDirect(url, exceptions);
      }),
    );
  });
});

test("a variable counts in any letter case, the upper one first", () => {
  const url = new URL("https://registry.example/");
  const of = (env: Record<string, string>) => createProxyChoice(env)(url, undefined)?.url.host;
  expect(of({ HTTPS_PROXY: "http://a:1", https_proxy: "http://b:1" })).toBe("a:1");
  expect(of({ HTTPS_PROXY: "", https_proxy: "b:1" })).toBe("b:1");
  expect(of({ Https_Proxy: "http://c:1" })).toBe("c:1");
  expect(of({ HTTP_PROXY: "http://a:1" })).toBeUndefined();
});
