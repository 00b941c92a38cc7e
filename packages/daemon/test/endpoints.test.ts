import { randomBytes } from "node:crypto";
import { createApiClient } from "@shoal/api";
import { createScriptedRegistry, type ScriptedRegistry } from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import { createTestDaemon } from "./support.ts";

const SIZE = 900_000;

/** A daemon before a registry with two endpoints, all with the same images. */
async function setUp(settings: Record<string, unknown> = {}) {
  const registry = await createScriptedRegistry();
  const endpoints = [
    await createScriptedRegistry({ host: "127.0.0.2" }),
    await createScriptedRegistry({ host: "127.0.0.3" }),
  ] as const;
  const all = [registry, ...endpoints];
  const layers = [SIZE, 300_000, 20_000].map((size) => new Uint8Array(randomBytes(size)));
  const images = all.map((one) => one.addImage("team/app", "v1", layers));
  const daemon = await createTestDaemon(
    {
      registries: {
        [registry.registry]: { endpoints: endpoints.map(({ origin }) => origin), ...settings },
      },
    },
    { registry },
  );
  return {
    registry,
    first: endpoints[0],
    second: endpoints[1],
    daemon,
    layers: images[0]!.layers as readonly { digest: string; bytes: Uint8Array }[],
    async pull(at: number) {
      const response = await fetch(daemon.url(`team/app/blobs/${images[0]!.layers[at]!.digest}`));
      expect(response.status).toBe(200);
      return Buffer.from(await response.arrayBuffer());
    },
    async manifest() {
      await (await fetch(daemon.url("team/app/manifests/v1"))).arrayBuffer();
    },
    gets: (one: ScriptedRegistry, at: number) =>
      one.requests.filter(
        ({ method, path }) => method === "GET" && path.includes(images[0]!.layers[at]!.digest),
      ).length,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      for (const one of endpoints) await one[Symbol.asyncDispose]();
    },
  };
}

/** Gives wrong bytes of the right length for each blob. */
function lie(
  one: ScriptedRegistry,
  layers: readonly { digest: string; bytes: Uint8Array }[],
): void {
  one.script(({ path }) => {
    const layer = layers.find(({ digest }) => path.includes(`/blobs/${digest}`));
    if (layer === undefined) return undefined;
    const body = Uint8Array.from(layer.bytes);
    body[1000]! ^= 1;
    return { body };
  });
}

describe("an endpoint that gives wrong bytes of a blob", () => {
  it("spoils the pull that it is found out by at most, and the next one is right, from another", async () => {
    await using t = await setUp();
    await t.manifest();
    lie(t.first, t.layers);
    // Where all has come before any of it was shown, it is fetched again unseen.
    const spoiled = await t.pull(0).catch(() => undefined);
    expect(spoiled?.equals(t.layers[0]!.bytes) ?? true).toBe(true);
    expect((await t.pull(0)).equals(t.layers[0]!.bytes)).toBe(true);
    expect([t.gets(t.first, 0), t.gets(t.registry, 0)]).toEqual([1, 0]);
    const sentBytes = t.second.requests.reduce((sum, request) => sum + request.sentBytes, 0);
    expect(sentBytes).toBeLessThan(1.6 * SIZE);
    // It rests, so that other blobs are right at once.
    expect((await t.pull(1)).equals(t.layers[1]!.bytes)).toBe(true);
    expect([t.gets(t.first, 1), t.gets(t.second, 1)]).toEqual([0, 1]);
  });

  it("spoils nothing where nothing of the blob was shown: a small one, or a pull of the API's", async () => {
    await using t = await setUp();
    await t.manifest();
    lie(t.first, t.layers);
    expect((await t.pull(2)).equals(t.layers[2]!.bytes)).toBe(true);
    await using client = createApiClient({ socketPath: t.daemon.socket });
    const { id } = await client.startPull({ reference: `${t.registry.registry}/team/app:v1` });
    await expect.poll(async () => (await client.pull(id)).state, { timeout: 10_000 }).toBe("done");
    for (const at of [0, 1]) expect((await t.pull(at)).equals(t.layers[at]!.bytes)).toBe(true);
  });

  it("is passed by, and so is the next one, until the registry itself is asked", async () => {
    await using t = await setUp();
    lie(t.first, t.layers);
    lie(t.second, t.layers);
    await t.manifest();
    expect((await t.pull(2)).equals(t.layers[2]!.bytes)).toBe(true);
    expect([t.gets(t.first, 2), t.gets(t.second, 2), t.gets(t.registry, 2)]).toEqual([1, 1, 1]);
  });

  it("fails the pull when nobody is left, and the next one asks anew", async () => {
    await using t = await setUp();
    for (const one of [t.first, t.second, t.registry]) lie(one, t.layers);
    await t.manifest();
    await expect(t.pull(2)).rejects.toThrow();
    t.registry.script(() => undefined);
    expect((await t.pull(2)).equals(t.layers[2]!.bytes)).toBe(true);
  });

  it("in the middle spoils nothing of what the first one has", async () => {
    await using t = await setUp();
    await t.manifest();
    lie(t.second, t.layers);
    for (const at of [0, 1, 2]) expect((await t.pull(at)).equals(t.layers[at]!.bytes)).toBe(true);
    expect([0, 1, 2].map((at) => t.gets(t.second, at))).toEqual([0, 0, 0]);
  });

  it("in the middle spoils one pull when it goes on for one that breaks off, and none after it", async () => {
    await using t = await setUp();
    await t.manifest();
    t.first.script(({ path }) =>
      path.includes("/blobs/") ? { truncateAfter: 100_000 } : undefined,
    );
    lie(t.second, [{ ...t.layers[0]!, bytes: new Uint8Array(SIZE) }]);
    await expect(t.pull(0)).rejects.toThrow();
    for (const at of [0, 1, 2]) expect((await t.pull(at)).equals(t.layers[at]!.bytes)).toBe(true);
  });

  it("has less of it than the manifest says: the next one is asked", async () => {
    await using t = await setUp();
    await t.manifest();
    t.first.script(({ path }) =>
      path.includes("/blobs/") ? { body: new Uint8Array(1000) } : undefined,
    );
    expect((await t.pull(0)).equals(t.layers[0]!.bytes)).toBe(true);
    expect((await t.pull(2)).equals(t.layers[2]!.bytes)).toBe(true);
  });
});
