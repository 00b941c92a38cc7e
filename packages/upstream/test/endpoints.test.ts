import { randomBytes } from "node:crypto";
import { parseRegistryHost, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { describe, expect, test } from "vitest";
import { createUpstream, isReadOverTls, type RegistrySettings } from "../src/index.ts";
import { resolveSources } from "../src/endpoints.ts";
import { createScriptedRegistry, type ScriptedRegistry } from "../src/testing.ts";
import { collect } from "./support.ts";

const TAG = parseTag("v1");
const LOGINS = {
  registry: { kind: "basic", username: "registry", password: "registry-secret" },
  mirror: { kind: "basic", username: "mirror", password: "mirror-secret" },
} as const;

/** A registry and two mirrors of it, all with the same image, and a client that is told of them. */
async function setUp(
  init: {
    readonly settings?: RegistrySettings;
    readonly auth?: boolean;
    /** Time passes by itself, too. */
    readonly runs?: boolean;
  } = {},
) {
  const auth = (login: keyof typeof LOGINS) => (init.auth === true ? { auth: LOGINS[login] } : {});
  const registry = await createScriptedRegistry(auth("registry"));
  const first = await createScriptedRegistry({ host: "127.0.0.2", ...auth("mirror") });
  const second = await createScriptedRegistry({ host: "127.0.0.3" });
  const bytes = randomBytes(200_000);
  const all = [registry, first, second];
  const digests = all.map((one) => [one.addImage("team/app", "v1", [bytes]), one.addBlob(bytes)]);
  const clock = { nowMs: 0 };
  const upstream = createUpstream(
    {
      clock: {
        ...systemClock,
        now: () => clock.nowMs + (init.runs === true ? systemClock.now() : 0),
      },
      logger: silentLogger,
      metrics: noMetrics,
    },
    {
      userAgent: "shoal/test",
      retry: { tries: 2, baseMs: 1 },
      registries: {
        [registry.registry]: { endpoints: [first.origin, second.origin], ...init.settings },
      },
      credentials: {
        async find(repository) {
          if (repository.registry === registry.registry) return LOGINS.registry;
          return repository.registry === first.registry ? LOGINS.mirror : undefined;
        },
      },
    },
  );
  const repository = registry.repository("team/app");
  return {
    registry,
    first,
    second,
    bytes,
    clock,
    upstream,
    repository,
    digest: digests[0]![1] as ReturnType<ScriptedRegistry["addBlob"]>,
    manifest: () => upstream.manifest(repository, TAG),
    asked: () => all.map(({ requests }) => requests.length),
    async [Symbol.asyncDispose]() {
      await upstream[Symbol.asyncDispose]();
      for (const one of all) await one[Symbol.asyncDispose]();
    },
  };
}

describe("endpoints of a registry", () => {
  test("are asked in order, the registry itself last", async () => {
    await using t = await setUp();
    await t.manifest();
    expect(t.asked()).toEqual([0, 1, 0]);
    t.first.script(() => ({ status: 404 }));
    await t.manifest();
    expect(t.asked()).toEqual([0, 2, 1]);
    t.second.script(() => ({ status: 404 }));
    await t.manifest();
    expect(t.asked()).toEqual([1, 3, 2]);
    t.registry.script(() => ({ status: 404 }));
    await expect(t.manifest()).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
      message: expect.stringContaining(t.registry.registry) as string,
    });
  });

  test.each([
    ["fails", { status: 500 }],
    ["answers with a web page", { headers: { "content-type": "text/html" }, body: "<html>" }],
    ["sends other bytes than the digest names", { body: "{}" }],
  ])("rest for 5 s, then twice as long, when one %s", async (_name, quirk) => {
    await using t = await setUp();
    const image = await t.manifest();
    const byDigest = () => t.upstream.manifest(t.repository, image.digest);
    t.first.script(() => quirk);
    t.first.requests.length = 0;
    const askedFirst = async () => {
      const before = t.first.requests.length;
      await byDigest();
      return t.first.requests.length > before;
    };
    expect(await askedFirst()).toBe(true);
    expect(await askedFirst()).toBe(false);
    t.clock.nowMs = 5_001;
    expect(await askedFirst()).toBe(true);
    t.clock.nowMs = 15_000;
    expect(await askedFirst()).toBe(false);
    t.clock.nowMs = 15_002;
    t.first.script(() => undefined);
    expect(await askedFirst()).toBe(true);
    expect(await askedFirst()).toBe(true);
    expect(t.registry.requests).toEqual([]);
  });

  test("are passed over when nobody is there, or one asks for a pause", async () => {
    await using t = await setUp();
    t.first.script(() => ({ status: 429, headers: { "retry-after": "60" } }));
    await t.second[Symbol.asyncDispose]();
    await t.manifest();
    await t.manifest();
    expect(t.asked()).toEqual([2, 1, 0]);
    const { registry, first, second } = t;
    expect(Object.fromEntries(t.upstream.health().map((one) => [one.registry, one]))).toMatchObject(
      {
        [registry.registry]: { registry: registry.registry },
        [first.registry]: { lastErrorCode: "ERR_UPSTREAM_RATE_LIMITED" },
        [second.registry]: { lastErrorCode: "ERR_UPSTREAM_UNREACHABLE" },
      },
    );
  });

  test("are all there is, when the registry is left out", async () => {
    await using t = await setUp({ settings: { endpointsOnly: true } });
    for (const mirror of [t.first, t.second]) mirror.script(() => ({ status: 503 }));
    await expect(t.manifest()).rejects.toMatchObject({ code: "ERR_UPSTREAM_STATUS" });
    // When all of them rest, the one that has rested most is asked.
    t.second.script(() => undefined);
    await t.manifest();
    expect(t.registry.requests).toEqual([]);
  });

  test("are asked in the order in which their answers begin, where the settings say so", async () => {
    await using t = await setUp({ settings: { endpointsOrder: "fastest" }, runs: true });
    t.first.script(() => ({ delayMs: 60 }));
    await t.manifest();
    await t.manifest();
    // Each is tried once, then the fastest is asked.
    expect(t.asked()).toEqual([0, 1, 1]);
    for (let n = 0; n < 4; n += 1) await t.manifest();
    expect(t.asked()).toEqual([0, 1, 5]);
    const blob = await t.upstream.blob(t.repository, t.digest);
    await collect(blob.body);
    expect(t.asked()).toEqual([0, 1, 6]);
    // It becomes the slower one.
    t.second.script(() => ({ delayMs: 150 }));
    t.first.script(() => undefined);
    for (let n = 0; n < 8; n += 1) await t.manifest();
    const [, first, second] = t.asked();
    expect(second! - 6).toBeLessThanOrEqual(3);
    expect(first! + second!).toBe(15);
    t.first.script(() => ({ status: 404 }));
    t.second.script(() => ({ status: 404 }));
    await t.manifest();
    expect(t.asked()[0]).toBe(1);
  });

  test("that are tried at once don't keep each other waiting", async () => {
    await using t = await setUp({ settings: { endpointsOrder: "fastest" }, runs: true });
    t.first.script(() => ({ delayMs: 300 }));
    const all = await Promise.all([t.manifest(), ...Array.from({ length: 5 }, () => t.manifest())]);
    expect(all).toHaveLength(6);
    expect(t.asked()).toEqual([0, 5, 1]);
    await t.manifest();
    expect(t.asked()).toEqual([0, 5, 2]);
  });

  test("may be the registry itself, which is then asked in its place and not once more", async () => {
    await using t = await setUp();
    const { registry, first } = t;
    await using upstream = createUpstream(
      { clock: systemClock, logger: silentLogger, metrics: noMetrics },
      {
        userAgent: "shoal/test",
        retry: { tries: 1, baseMs: 1 },
        registries: {
          [registry.registry]: { endpoints: [`${registry.origin}/`, first.origin] },
        },
      },
    );
    await upstream.manifest(t.repository, TAG);
    expect(t.asked()).toEqual([1, 0, 0]);
    registry.script(() => ({ status: 429, headers: { "retry-after": "60" } }));
    await upstream.manifest(t.repository, TAG);
    expect(t.asked()).toEqual([2, 1, 0]);
    first.script(() => ({ status: 404 }));
    await expect(upstream.manifest(t.repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
    });
    expect(t.asked()).toEqual([2, 2, 0]);
  });

  test("get their own logins, never another's", async () => {
    await using t = await setUp({ auth: true });
    const basic = ({ username, password }: { username: string; password: string }) =>
      `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    const seen = (one: ScriptedRegistry) =>
      new Set(one.requests.map(({ headers }) => headers.authorization));
    await t.manifest();
    t.first.script(({ headers }) =>
      headers.authorization === undefined ? undefined : { status: 404 },
    );
    t.second.script(() => ({
      status: 401,
      headers: { "www-authenticate": 'Basic realm="give me the registry\'s"' },
    }));
    await t.manifest();
    expect(seen(t.registry)).toEqual(new Set([undefined, basic(LOGINS.registry)]));
    expect(seen(t.first)).toEqual(new Set([undefined, basic(LOGINS.mirror)]));
    expect(seen(t.second)).toEqual(new Set([undefined]));
  });

  test("bring a blob together, when one breaks off in its midst", async () => {
    await using t = await setUp();
    t.first.script(() => ({ truncateAfter: 50_000 }));
    t.second.script(() => ({ truncateAfter: 60_000 }));
    const blob = await t.upstream.blob(t.repository, t.digest);
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
    const ranges = [t.first, t.second, t.registry].map(({ requests }) =>
      requests.map(({ headers }) => headers.range),
    );
    expect(ranges).toEqual([[undefined], ["bytes=50000-"], ["bytes=110000-"]]);
  });

  test("may have a registry in a namespace of theirs, which clients do not see", async () => {
    await using mirror = await createScriptedRegistry();
    const image = mirror.addImage("hub/team/app", "v1", []);
    mirror.script(({ path }) =>
      path.includes("/tags/list?n=1")
        ? {
            headers: { link: '</v2/hub/team/app/tags/list?n=1&last=a>; rel="next"' },
          }
        : undefined,
    );
    await using upstream = createUpstream(
      { clock: systemClock, logger: silentLogger, metrics: noMetrics },
      {
        userAgent: "shoal/test",
        registries: {
          "registry.example": { endpoints: [`${mirror.origin}/v2/hub/`], endpointsOnly: true },
        },
      },
    );
    const repository = { ...image.repository, registry: parseRegistryHost("registry.example") };
    const asked = { ...repository, name: mirror.repository("team/app").name };
    expect((await upstream.manifest(asked, TAG)).digest).toBe(image.digest);
    const page = await upstream.tags(asked, new URLSearchParams({ n: "1" }));
    expect(page.nextQuery).toBe("n=1&last=a");
  });
});

describe("resolveSources", () => {
  const bases = (settings: Record<string, RegistrySettings>) =>
    resolveSources(parseRegistryHost("docker.io"), settings).map(({ endpoint, namePrefix }) => [
      endpoint.registry,
      endpoint.base.href,
      namePrefix,
    ]);

  test("gives each endpoint the settings of its own host", () => {
    const registries = {
      "docker.io": {
        caFile: "/hub.pem",
        endpoints: ["https://harbor.lab/v2/hub", "http://10.0.0.2:5000/cache"],
      },
      "harbor.lab": { caFile: "/harbor.pem", endpoint: "https://elsewhere.lab" },
    };
    expect(bases(registries)).toEqual([
      ["harbor.lab", "https://harbor.lab/", "hub/"],
      ["10.0.0.2:5000", "http://10.0.0.2:5000/cache", ""],
      ["docker.io", "https://registry-1.docker.io/", ""],
    ]);
    const settings = resolveSources(parseRegistryHost("docker.io"), registries).map(
      ({ endpoint }) => endpoint.settings.caFile,
    );
    expect(settings).toEqual(["/harbor.pem", undefined, "/hub.pem"]);
  });

  test.each([
    [{ endpoints: ["mirror.lab"] }, "endpoints[0]"],
    [{ endpoints: ["https://a.lab", "https://me:secret@b.lab"] }, "endpoints[1]"],
    [{ endpoints: ["https://a.lab/v2/No_Name_"] }, "endpoints[0]"],
    [{ endpointsOnly: true }, "endpointsOnly"],
    [{ endpoints: [], endpointsOnly: true }, "endpointsOnly"],
  ])("refuses %j", (settings, message) => {
    expect(() => bases({ "docker.io": settings })).toThrowError(
      expect.objectContaining({
        code: "ERR_REGISTRY_SETTINGS",
        message: expect.stringContaining(message) as string,
      }) as Error,
    );
  });

  test("a registry is surely read when it is the only source, over TLS that is checked", () => {
    const over = (settings: RegistrySettings) =>
      isReadOverTls(parseRegistryHost("docker.io"), { "docker.io": settings });
    expect(isReadOverTls(parseRegistryHost("docker.io"), {})).toBe(true);
    expect(over({ endpoints: ["https://registry-1.docker.io"] })).toBe(true);
    expect(over({ endpoints: ["https://a.lab"] })).toBe(false);
    expect(over({ plainHttp: true })).toBe(false);
    expect(over({ insecureSkipVerify: true })).toBe(false);
  });
});
