import { type Repository, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { describe, expect, test } from "vitest";
import { type Credential, type Credentials, createUpstream } from "../src/index.ts";
import { createScriptedRegistry, type ScriptedAuth } from "../src/testing.ts";
import { collect, upstreamFor } from "./support.ts";

const TAG = parseTag("v1");
const LOGIN: Credential = { kind: "basic", username: "me", password: "secret" };

function logins(credential: Credential): Credentials & { readonly asked: Repository[] } {
  const asked: Repository[] = [];
  return {
    asked,
    async find(repository) {
      asked.push(repository);
      return credential;
    },
  };
}

async function setUp(auth: ScriptedAuth, credential?: Credential) {
  const registry = await createScriptedRegistry({ auth });
  const image = registry.addImage("team/app", "v1", [1000]);
  const upstream = upstreamFor(
    [registry],
    credential === undefined ? {} : { credentials: logins(credential) },
  );
  const statuses = () => registry.requests.map(({ path, status }) => [path.split("?")[0], status]);
  const tokenRequests = () => registry.requests.filter(({ path }) => path.startsWith("/token"));
  return {
    registry,
    image,
    upstream,
    statuses,
    tokenRequests,
    manifest: () => upstream.manifest(image.repository, TAG),
    async [Symbol.asyncDispose]() {
      await upstream[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

const MANIFEST = "/v2/team/app/manifests/v1";

describe("Basic", () => {
  const auth = { kind: "basic", username: "me", password: "secret" } as const;

  test("is given when asked for, and remembered", async () => {
    await using t = await setUp(auth, LOGIN);
    await t.manifest();
    await t.manifest();
    expect(t.statuses()).toEqual([
      [MANIFEST, 401],
      [MANIFEST, 200],
      [MANIFEST, 200],
    ]);
  });

  test("without a login says to log in", async () => {
    await using t = await setUp(auth);
    await expect(t.manifest()).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNAUTHORIZED",
      message: expect.stringContaining("docker login") as string,
    });
    expect(t.statuses().length).toBe(1);
  });

  test("with a wrong login says to log in again, and never shows it", async () => {
    await using t = await setUp(auth, { ...LOGIN, password: "wrong-one" });
    const error: unknown = await t.manifest().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "ERR_UPSTREAM_UNAUTHORIZED" });
    expect((error as Error).message).toContain("log in again");
    expect(JSON.stringify(error) + (error as Error).stack).not.toContain("wrong-one");
    await expect(t.manifest()).rejects.toMatchObject({ code: "ERR_UPSTREAM_UNAUTHORIZED" });
  });
});

describe("Bearer", () => {
  test("tokens are had without a login, and kept", async () => {
    await using t = await setUp({ kind: "bearer" });
    await t.manifest();
    const blob = await t.upstream.blob(t.image.repository, t.image.layers[0]!.digest);
    await collect(blob.body);
    expect(t.statuses().slice(0, 3)).toEqual([
      [MANIFEST, 401],
      ["/token", 200],
      [MANIFEST, 200],
    ]);
    expect(t.registry.requests.length).toBe(4);
    const query = new URLSearchParams(t.tokenRequests()[0]!.path.split("?")[1]);
    expect(Object.fromEntries(query)).toEqual({
      service: "scripted",
      scope: "repository:team/app:pull",
    });
    expect(t.tokenRequests()[0]!.headers.authorization).toBeUndefined();
  });

  test("tokens are had with a login, which the registry itself never sees", async () => {
    await using t = await setUp(
      { kind: "bearer", login: { username: "me", password: "secret" } },
      LOGIN,
    );
    await t.manifest();
    expect(t.tokenRequests()[0]!.headers.authorization).toMatch(/^Basic /);
    const others = t.registry.requests.filter(({ path }) => !path.startsWith("/token"));
    expect(others.some(({ headers }) => headers.authorization?.startsWith("Basic"))).toBe(false);
  });

  test("tokens that are not to be had say to log in", async () => {
    const login = { username: "me", password: "other" };
    for (const credential of [undefined, LOGIN]) {
      await using t = await setUp({ kind: "bearer", login }, credential);
      await expect(t.manifest()).rejects.toMatchObject({
        code: "ERR_UPSTREAM_UNAUTHORIZED",
        message: expect.stringMatching(/log in|login/) as string,
      });
    }
  });

  test.each([
    ["access_token", { accessToken: true }],
    ["a scope that is junk", { scope: "aws" }],
    ["a scope with push", { scope: "repository:team/app:push,pull" }],
    [
      "odd letters and several challenges",
      { challenge: 'Negotiate abc==, bEARER Realm="REALM" , SERVICE=s, Basic realm="x"' },
    ],
    ["no expiry", { expiresInS: null }],
  ] as const)("works with %s", async (_name, quirk) => {
    await using t = await setUp({ kind: "bearer", ...quirk });
    await t.manifest();
    const query = new URLSearchParams(t.tokenRequests()[0]!.path.split("?")[1]);
    expect(query.get("scope")).toBe("repository:team/app:pull");
  });

  test("tokens are asked for once by many requests at a time", async () => {
    await using t = await setUp({ kind: "bearer" });
    await Promise.all(Array.from({ length: 8 }, () => t.manifest()));
    expect(t.tokenRequests().length).toBe(1);
  });

  test.each([401, 400])(
    "tokens that are taken back, told by a %s, are renewed once",
    async (expiredStatus) => {
      await using t = await setUp({ kind: "bearer", expiredStatus });
      await t.manifest();
      t.registry.expireTokens();
      await t.manifest();
      expect(t.statuses().slice(3)).toEqual([
        [MANIFEST, expiredStatus],
        ["/token", 200],
        [MANIFEST, 200],
      ]);
    },
  );

  test("tokens that never help are not asked for without end", async () => {
    await using t = await setUp({ kind: "bearer" });
    t.registry.script(({ path }) => {
      if (path.startsWith("/token")) t.registry.expireTokens();
      return path.startsWith("/token")
        ? undefined
        : {
            status: 401,
            headers: { "www-authenticate": `Bearer realm="${t.registry.origin}/token"` },
          };
    });
    await expect(t.manifest()).rejects.toMatchObject({ code: "ERR_UPSTREAM_UNAUTHORIZED" });
    expect(t.registry.requests.length).toBe(3);
  });

  test("tokens are renewed before they end: after 60 s where no time is told", async () => {
    await using registry = await createScriptedRegistry({
      auth: { kind: "bearer", expiresInS: null },
    });
    const image = registry.addImage("team/app", "v1", []);
    const clock = createManualClock();
    await using upstream = createUpstream(
      { clock, logger: silentLogger, metrics: noMetrics },
      { userAgent: "shoal/test", registries: { [registry.registry]: {} } },
    );
    const tokenRequests = () => registry.requests.filter(({ path }) => path.startsWith("/token"));
    await upstream.manifest(image.repository, TAG);
    clock.advance(50_000);
    await upstream.manifest(image.repository, TAG);
    expect(tokenRequests().length).toBe(1);
    clock.advance(5_000);
    await upstream.manifest(image.repository, TAG);
    expect(tokenRequests().length).toBe(2);
    expect(registry.requests.filter(({ status }) => status === 401).length).toBe(1);
  });

  test("tokens of one repository do not serve another", async () => {
    await using t = await setUp({ kind: "bearer" });
    t.registry.addImage("team/other", "v1", []);
    await t.manifest();
    await t.upstream.manifest(t.registry.repository("team/other"), TAG);
    const scopes = t
      .tokenRequests()
      .map(({ path }) => new URLSearchParams(path.split("?")[1]).get("scope"));
    expect(scopes).toEqual(["repository:team/app:pull", "repository:team/other:pull"]);
  });

  test("identity tokens are posted", async () => {
    const credential = {
      kind: "identity-token",
      username: "<token>",
      token: "refresh-me",
    } as const;
    await using t = await setUp({ kind: "bearer", identityToken: "refresh-me" }, credential);
    await t.manifest();
    expect(t.tokenRequests().map(({ method }) => method)).toEqual(["POST"]);
    expect(Object.fromEntries(new URLSearchParams(t.tokenRequests()[0]!.body))).toMatchObject({
      grant_type: "refresh_token",
      refresh_token: "refresh-me",
      scope: "repository:team/app:pull",
      service: "scripted",
    });
  });

  test("identity tokens fall back to Basic where they are not known", async () => {
    const credential = { kind: "identity-token", username: "me", token: "refresh-me" } as const;
    const login = { username: "me", password: "refresh-me" };
    await using t = await setUp({ kind: "bearer", login }, credential);
    await t.manifest();
    expect(t.tokenRequests().map(({ method, status }) => [method, status])).toEqual([
      ["POST", 405],
      ["GET", 200],
    ]);
  });

  test("logins are not sent to a foreign host, unless that is configured", async () => {
    await using foreign = await createScriptedRegistry({
      host: "127.0.0.2",
      auth: { kind: "bearer" },
    });
    await using t = await setUp({ kind: "bearer", realm: `${foreign.origin}/token` }, LOGIN);
    await expect(t.manifest()).rejects.toMatchObject({
      code: "ERR_UPSTREAM_REALM",
      message: expect.stringContaining(`tokenRealms: ["${foreign.origin}"]`) as string,
    });
    expect(foreign.requests).toEqual([]);

    await using allowing = upstreamFor([t.registry], {
      registries: { [t.registry.registry]: { tokenRealms: [foreign.origin] } },
      credentials: logins(LOGIN),
    });
    // The foreign server's token is none of the registry's: what matters is that it was asked.
    await expect(allowing.manifest(t.image.repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNAUTHORIZED",
    });
    expect(foreign.requests.length).toBe(1);
  });

  test("a token server that talks nonsense is named", async () => {
    await using t = await setUp({ kind: "bearer" });
    for (const [status, body, code] of [
      [200, "<html>", "ERR_UPSTREAM_NOT_A_REGISTRY"],
      [200, "{}", "ERR_UPSTREAM_NOT_A_REGISTRY"],
      [418, "", "ERR_UPSTREAM_STATUS"],
      [429, "", "ERR_UPSTREAM_RATE_LIMITED"],
    ] as const) {
      t.registry.script(({ path }) => (path.startsWith("/token") ? { status, body } : undefined));
      await expect(t.manifest()).rejects.toMatchObject({ code });
    }
  });

  test("one caller's leaving does not fail another's wait for a token", async () => {
    await using t = await setUp({ kind: "bearer" });
    t.registry.script(({ path }) => (path.startsWith("/token") ? { delayMs: 60 } : undefined));
    const controller = new AbortController();
    const first = t.upstream.manifest(t.image.repository, TAG, { signal: controller.signal });
    const second = t.manifest();
    await expect.poll(() => t.tokenRequests().length).toBe(1);
    controller.abort(new Error("left"));
    await expect(first).rejects.toThrow("left");
    expect((await second).digest).toBe(t.image.digest);
  });
});
