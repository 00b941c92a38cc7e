import { randomBytes } from "node:crypto";
import { afterAll, describe, expect, test } from "vitest";
import {
  createScriptedRegistry,
  createTestCertificates,
  type ScriptedRegistryInit,
} from "../src/testing.ts";
import { collect, upstreamFor } from "./support.ts";

const certificates = createTestCertificates();
afterAll(() => certificates[Symbol.dispose]());

const LOGIN = { kind: "basic", username: "me", password: "secret" } as const;

/** A registry that wants a login and redirects each blob to a CDN on another origin. */
async function setUp(init: ScriptedRegistryInit = {}, cdnInit: ScriptedRegistryInit = {}) {
  const registry = await createScriptedRegistry({ auth: LOGIN, ...init });
  const cdn = await createScriptedRegistry(cdnInit);
  const bytes = randomBytes(50_000);
  const digest = cdn.addBlob(bytes);
  const repository = registry.repository("team/app");
  const target = `${cdn.origin}/v2/cdn/blobs/${digest}?X-Signature=abc`;
  const redirectTo = (location: string, status = 307): void =>
    registry.script(({ path, headers }) =>
      path.includes("/blobs/") && headers.authorization !== undefined
        ? { status, headers: { location } }
        : undefined,
    );
  redirectTo(target);
  const upstream = upstreamFor([registry], {
    registries: {
      [registry.registry]: {
        allowPrivate: true,
        caFile: certificates.caFile,
        plainHttp: init.tls === undefined,
      },
    },
    credentials: { find: async () => LOGIN },
  });
  return {
    registry,
    cdn,
    bytes,
    digest,
    repository,
    target,
    redirectTo,
    blob: (options = {}) => upstream.blob(repository, digest, options),
    async [Symbol.asyncDispose]() {
      await upstream[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      await cdn[Symbol.asyncDispose]();
    },
  };
}

describe("a redirect", () => {
  test.each([301, 302, 303, 307, 308])(
    "with %s to a CDN is followed without the login",
    async (status) => {
      await using t = await setUp();
      t.redirectTo(t.target, status);
      const blob = await t.blob();
      expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
      expect(t.registry.requests.at(-1)!.headers.authorization).toMatch(/^Basic /);
      expect(t.cdn.requests.length).toBe(1);
      expect(t.cdn.requests[0]!.headers).not.toHaveProperty("authorization");
      expect(t.cdn.requests[0]!.path).toContain("X-Signature=abc");
    },
  );

  test("keeps the range, and resuming asks the registry again", async () => {
    await using t = await setUp();
    t.cdn.script(() => (t.cdn.requests.length === 1 ? { truncateAfter: 5000 } : undefined));
    const blob = await t.blob({ start: 10_000 });
    expect((await collect(blob.body)).equals(t.bytes.subarray(10_000))).toBe(true);
    expect(t.cdn.requests.map(({ headers }) => headers.range)).toEqual([
      "bytes=10000-",
      "bytes=15000-",
    ]);
    expect(t.cdn.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test("within the registry keeps the login", async () => {
    await using t = await setUp();
    const other = t.registry.addBlob(t.bytes);
    t.registry.script(({ path }) =>
      path.includes("/team/app/blobs/")
        ? { status: 302, headers: { location: `/v2/team/moved/blobs/${other}` } }
        : undefined,
    );
    const blob = await t.blob();
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
    expect(t.registry.requests.at(-1)!.headers.authorization).toMatch(/^Basic /);
  });

  test("back from a CDN does not bring the login back", async () => {
    await using t = await setUp();
    t.cdn.script(() => ({ status: 302, headers: { location: `${t.registry.origin}/back` } }));
    await expect(t.blob()).rejects.toMatchObject({ code: "ERR_UPSTREAM_UNAUTHORIZED" });
    expect(t.registry.requests.at(-1)).toMatchObject({ path: "/back" });
    expect(t.registry.requests.at(-1)!.headers).not.toHaveProperty("authorization");
  });

  test("whose signature has expired is asked for again, once", async () => {
    await using t = await setUp();
    t.cdn.script(() => (t.cdn.requests.length === 1 ? { status: 403 } : undefined));
    expect((await collect((await t.blob()).body)).equals(t.bytes)).toBe(true);
    t.cdn.script(() => ({ status: 403 }));
    const before = t.cdn.requests.length;
    await expect(t.blob()).rejects.toMatchObject({ code: "ERR_UPSTREAM_DENIED" });
    expect(t.cdn.requests.length - before).toBe(2);
  });

  test("is followed five times and no more", async () => {
    await using t = await setUp();
    const loop = (times: number) =>
      t.cdn.script(({ path }) => {
        const hop = Number(/hop=(\d+)/.exec(path)?.[1] ?? 0);
        return hop < times
          ? { status: 302, headers: { location: `${t.target}&hop=${hop + 1}` } }
          : undefined;
      });
    loop(4);
    expect((await collect((await t.blob()).body)).equals(t.bytes)).toBe(true);
    loop(5);
    await expect(t.blob()).rejects.toMatchObject({ code: "ERR_UPSTREAM_REDIRECT" });
  });

  test.each(["ftp://example.com/x", "http://[", "http://me:pw@127.0.0.1/x"])(
    "to %s is refused",
    async (location) => {
      await using t = await setUp();
      t.redirectTo(location);
      await expect(t.blob()).rejects.toMatchObject({ code: "ERR_UPSTREAM_REDIRECT" });
    },
  );

  test("from TLS to plain HTTP is refused, to TLS is followed", async () => {
    await using down = await setUp({ tls: certificates });
    await expect(down.blob()).rejects.toMatchObject({ code: "ERR_UPSTREAM_REDIRECT" });
    expect(down.cdn.requests).toEqual([]);
    await using up = await setUp({}, { tls: certificates });
    expect((await collect((await up.blob()).body)).equals(up.bytes)).toBe(true);
  });
});
