import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createApiClient } from "@shoal/api";
import { MEDIA_TYPES } from "@shoal/oci";
import {
  createQuirkyRegistry,
  createScriptedRegistry,
  QUIRKY_REGISTRIES,
  type RegistryQuirk,
} from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import { createTestDaemon } from "./support.ts";

/** A user's `auths` with this login. */
function authsOf(registry: string, { login }: RegistryQuirk): Record<string, unknown> {
  if (login === undefined) return {};
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  return {
    [registry]:
      login.kind === "basic"
        ? { auth: base64(`${login.username}:${login.password}`) }
        : { auth: base64(`${login.username}:`), identitytoken: login.token },
  };
}

async function filesBelow(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const texts = entries
    .filter((entry) => entry.isFile())
    .map(async (entry) => await readFile(join(entry.parentPath, entry.name), "latin1"));
  return (await Promise.all(texts)).join("\n");
}

async function setUp(quirk: RegistryQuirk) {
  const quirky = await createQuirkyRegistry(quirk);
  const { registry, cdn } = quirky;
  const daemon = await createTestDaemon(
    { registries: { [registry.registry]: { allowPrivate: true } } },
    {
      registry,
      auths: authsOf(registry.registry, quirk),
    },
  );
  const image = registry.addImage("team/app", "v1", [300_000, 200_000]);
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: image.layers.map(({ digest }) => digest) },
  });
  for (const bytes of [Buffer.from(config), ...image.layers.map((layer) => layer.bytes)])
    cdn.addBlob(bytes);
  const told: string[] = [];
  return {
    ...quirky,
    daemon,
    image,
    told,
    /** Asks the mirror, and remembers all that it says. */
    async ask(path: string, init: RequestInit = {}): Promise<Buffer> {
      const response = await fetch(daemon.url(`team/app/${path}`), init);
      const body = Buffer.from(await response.arrayBuffer());
      told.push(JSON.stringify([...response.headers]), body.toString("latin1"));
      expect([path, response.status, body.length < 2000 ? body.toString() : ""]).toEqual([
        path,
        init.headers === undefined ? 200 : 206,
        expect.anything(),
      ]);
      return body;
    },
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await quirky[Symbol.asyncDispose]();
    },
  };
}

describe.each(QUIRKY_REGISTRIES.map((quirk) => [quirk.name, quirk] as const))(
  "%s",
  (_name, quirk) => {
    it("is pulled from through the mirror, and its logins stay with it", async () => {
      await using t = await setUp(quirk);
      const { image, daemon } = t;
      await t.ask("manifests/v1", { method: "HEAD" });
      for (const reference of ["v1", image.digest])
        expect((await t.ask(`manifests/${reference}`)).equals(image.manifest)).toBe(true);
      await t.ask(`blobs/${image.config}`);
      for (const { digest, bytes } of image.layers)
        expect((await t.ask(`blobs/${digest}`)).equals(bytes)).toBe(true);

      const secrets = t.secrets();
      expect(secrets.length > 0).toBe(quirk.auth !== undefined);
      expect(t.cdn.requests.length > 0).toBe(quirk.behindCdn === true);
      for (const { headers } of t.cdn.requests) expect(headers).not.toHaveProperty("authorization");
      const seen = {
        log: daemon.log(),
        answers: t.told.join("\n"),
        metrics: await (await fetch(`${daemon.metrics}/metrics`)).text(),
        state: await filesBelow(daemon.configuration.state),
        cdn: JSON.stringify(t.cdn.requests),
      };
      expect(seen.log).not.toBe("");
      for (const [place, text] of Object.entries(seen))
        for (const secret of secrets)
          expect([place, text.includes(secret)]).toEqual([place, false]);
    });

    it("is asked for a blob and a range of it without its manifest", async () => {
      await using t = await setUp(quirk);
      const [{ digest, bytes }] = t.image.layers as [(typeof t.image.layers)[number]];
      await t.ask(`blobs/${digest}`, { method: "HEAD" });
      const part = await t.ask(`blobs/${digest}`, { headers: { range: "bytes=100000-149999" } });
      expect(part.equals(bytes.subarray(100_000, 150_000))).toBe(true);
      expect((await t.ask(`blobs/${digest}`)).equals(bytes)).toBe(true);
    });
  },
);

describe("a registry that", () => {
  it("limits pulls, as Docker Hub does, makes the mirror answer 503, and says what is left", async () => {
    await using t = await setUp({ name: "Docker Hub", auth: { kind: "bearer" } });
    t.registry.script(({ path, headers }) => {
      if (!path.includes("/manifests/") || headers.authorization === undefined) return undefined;
      const counts = { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600" };
      return path.endsWith("/v1")
        ? { headers: counts }
        : {
            status: 429,
            headers: { ...counts, "ratelimit-remaining": "0;w=21600", "retry-after": "3600" },
          };
    });
    await using client = createApiClient({ socketPath: t.daemon.socket });
    await t.ask("manifests/v1");
    const pullLimit = { limit: 100, remaining: 76, windowSeconds: 21_600 };
    expect((await client.status()).registries).toMatchObject([{ pullLimit }]);
    for (let times = 0; times < 3; times += 1) {
      const limited = await fetch(t.daemon.url("team/app/manifests/v2"));
      expect(limited.status).toBe(503);
      expect(await limited.json()).toMatchObject({ errors: [{ code: "UNAVAILABLE" }] });
    }
    expect(t.registry.requests.filter(({ status }) => status === 429)).toHaveLength(1);
    expect((await client.status()).registries).toMatchObject([
      { pullLimit: { ...pullLimit, remaining: 0 }, lastErrorCode: "ERR_UPSTREAM_RATE_LIMITED" },
    ]);
    // What is here is given all the same.
    await t.ask("manifests/v1");
  });

  it("answers the HEAD of a tag with 404 and its GET with 200 is asked by GET", async () => {
    const registry = await createScriptedRegistry();
    await using daemon = await createTestDaemon(
      { resolve: { freshSeconds: 0, staleMaxSeconds: 0 } },
      { registry },
    );
    registry.script(({ method }) => (method === "HEAD" ? { status: 404 } : undefined));
    for (const sizeBytes of [10, 20]) {
      const { digest } = registry.addImage("team/app", "v1", [sizeBytes]);
      const response = await fetch(daemon.url("team/app/manifests/v1"), { method: "HEAD" });
      expect(response.headers.get("docker-content-digest")).toBe(digest);
    }
  });

  it("gzips blobs is refused before a byte is given", async () => {
    await using t = await setUp({ name: "gzip" });
    t.registry.script(({ path }) =>
      path.includes("/blobs/") ? { headers: { "content-encoding": "gzip" } } : undefined,
    );
    await t.ask("manifests/v1");
    const response = await fetch(t.daemon.url(`team/app/blobs/${t.image.layers[0]!.digest}`));
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({
      errors: [{ message: expect.stringContaining("ERR_UPSTREAM_ENCODING") as string }],
    });
    expect(t.registry.requests.at(-1)!.headers["accept-encoding"]).toBe("identity");
  });

  it("gives one tag two manifests, by what is accepted, has both of them kept apart", async () => {
    await using t = await setUp({ name: "accept" });
    const index = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [] }),
    );
    t.registry.script(({ path, headers }) =>
      path.endsWith("/manifests/v1") && headers.accept === MEDIA_TYPES.ociIndex
        ? { status: 200, headers: { "content-type": MEDIA_TYPES.ociIndex }, body: index }
        : undefined,
    );
    for (let times = 0; times < 2; times += 1)
      for (const [accept, expected] of [
        [MEDIA_TYPES.ociIndex, index],
        [MEDIA_TYPES.ociManifest, Buffer.from(t.image.manifest)],
      ] as const) {
        const response = await fetch(t.daemon.url("team/app/manifests/v1"), {
          headers: { accept },
        });
        expect(response.headers.get("content-type")).toBe(accept);
        expect(Buffer.from(await response.arrayBuffer()).equals(expected)).toBe(true);
      }
    expect(t.registry.requests).toHaveLength(2);
  });

  it("has foreign layers is asked for them itself, never the URLs that they name", async () => {
    await using t = await setUp({ name: "foreign" });
    await using elsewhere = await createScriptedRegistry();
    const bytes = Buffer.from("a layer of Windows");
    const digest = t.registry.addBlob(bytes);
    const foreign = {
      mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      digest,
      size: bytes.length,
      urls: [`${elsewhere.origin}/v2/x/blobs/${digest}`],
    };
    const manifest = JSON.stringify({
      ...(JSON.parse(Buffer.from(t.image.manifest).toString("utf8")) as object),
      layers: [foreign],
    });
    t.registry.addManifest("team/app", Buffer.from(manifest), MEDIA_TYPES.ociManifest, "foreign");
    expect((await t.ask("manifests/foreign")).toString()).toBe(manifest);
    expect((await t.ask(`blobs/${digest}`)).equals(bytes)).toBe(true);
    expect(elsewhere.requests).toEqual([]);
  });

  it("answers with a page of 200 makes the mirror answer 503 with an error's body", async () => {
    await using t = await setUp({ name: "page" });
    t.registry.script(() => ({
      status: 200,
      headers: { "content-type": "text/html" },
      body: "<html>Log in</html>",
    }));
    for (const path of ["manifests/v1", "tags/list", `referrers/${t.image.digest}`]) {
      const response = await fetch(t.daemon.url(`team/app/${path}`));
      expect([path, response.status]).toEqual([path, 503]);
      expect(await response.json()).toMatchObject({ errors: [{ code: "UNAVAILABLE" }] });
    }
  });
});
