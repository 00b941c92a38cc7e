import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient, type Status } from "@shoal/api";
import { createSiteToken } from "@shoal/network";
import {
  createScriptedRegistry,
  type ScriptedImage,
  type ScriptedRegistry,
} from "@shoal/upstream/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "../support.ts";

const LOGIN = Buffer.from("me:registry-password").toString("base64");
/** Whoever passes requests of others on is not who asks. */
const STRANGER = { via: "1.1 somebody" };

interface Machine {
  readonly daemon: TestDaemon;
  get(path: string, of: ScriptedRegistry, headers?: Record<string, string>): Promise<Response>;
}

let stack: AsyncDisposableStack;
let tokenFile = "";
/** Gives to one login alone, and to everybody; the first two are configured, the last is anybody's. */
let closed: ScriptedRegistry;
let open: ScriptedRegistry;
let unknown: ScriptedRegistry;
/** Has pulled what the login opens. */
let one: Machine;
/** Has the login too, and has pulled something else by it. */
let two: Machine;
let secret: ScriptedImage;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "shoal-strangers-"));
  stack.defer(async () => await rm(folder, { recursive: true }));
  tokenFile = join(folder, "token");
  await writeFile(tokenFile, createSiteToken());
  const auth = { kind: "basic", username: "me", password: "registry-password" } as const;
  closed = stack.use(await createScriptedRegistry({ auth }));
  open = stack.use(await createScriptedRegistry());
  unknown = stack.use(await createScriptedRegistry());
  one = await machine();
  two = await machine((await statusOf(one.daemon)).swarm);
  await expect.poll(async () => (await statusOf(two.daemon)).peersUp, { timeout: 10_000 }).toBe(1);

  secret = closed.addImage("team/app", "v1", [700_000]);
  closed.addImage("team/other", "v1", [1000]);
  await pull(one, "team/app", secret);
  expect((await two.get("team/other/manifests/v1", closed)).status).toBe(200);
});
afterEach(async () => await stack.disposeAsync());

async function machine(peers: readonly string[] = []): Promise<Machine> {
  const daemon = stack.use(
    await createTestDaemon(
      {
        site: { tokenFile },
        registries: { [closed.registry]: {}, [open.registry]: {} },
        upstream: { allowPrivate: true, credentialHelpers: [] },
        swarm: { listen: ["127.0.0.1"], port: 0, bulkPort: 0, mdns: false, peers: [...peers] },
      },
      { registry: closed, auths: { [closed.registry]: { auth: LOGIN } } },
    ),
  );
  return {
    daemon,
    get: async (path, of, headers = {}) =>
      await fetch(`${daemon.mirror}/v2/${path}?ns=${of.registry}`, { headers }),
  };
}

async function statusOf(daemon: TestDaemon): Promise<Status> {
  await using api = createApiClient({ socketPath: daemon.socket });
  return await api.status();
}

async function pull(at: Machine, name: string, image: ScriptedImage, of = closed): Promise<void> {
  for (const path of ["manifests/v1", `blobs/${image.layers[0]!.digest}`])
    expect((await (await at.get(`${name}/${path}`, of)).arrayBuffer()).byteLength).toBeGreaterThan(
      0,
    );
}

function pathsOf(image: ScriptedImage): string[] {
  return [`manifests/${image.digest}`, `blobs/${image.layers[0]!.digest}`];
}

describe("a stranger on a machine with a login", { timeout: 30_000 }, () => {
  it("gets nothing of what it opens from members, under any name", async () => {
    open.addImage("library/app", "v1", [1000]);
    unknown.addImage("library/app", "v1", [1000]);
    for (const path of pathsOf(secret))
      for (const [name, of] of [
        ["team/app", closed],
        ["library/app", open],
        ["library/app", unknown],
      ] as const)
        for (let round = 0; round < 2; round += 1)
          expect([
            path,
            of === closed,
            (await two.get(`${name}/${path}`, of, STRANGER)).status,
          ]).toEqual([path, of === closed, 404]);
    // Its members do have it.
    for (const path of pathsOf(secret))
      expect((await two.get(`team/app/${path}`, closed)).status).toBe(200);
  });

  it("gets nothing of it by a registry that says that it has everything", async () => {
    unknown.addImage("library/app", "v1", [1000]);
    unknown.script(({ method }) =>
      method === "HEAD"
        ? {
            status: 200,
            headers: { "content-length": "700000", "docker-content-digest": secret.digest },
          }
        : undefined,
    );
    for (const path of pathsOf(secret))
      for (let round = 0; round < 2; round += 1)
        expect([path, (await two.get(`library/app/${path}`, unknown, STRANGER)).status]).toEqual([
          path,
          404,
        ]);
    // What is here is not given for it either.
    await pull(two, "team/app", secret);
    for (const path of pathsOf(secret))
      for (const headers of [STRANGER, {}])
        expect([path, (await two.get(`library/app/${path}`, unknown, headers)).status]).toEqual([
          path,
          404,
        ]);
  });

  it("gets what the registry gives everybody, from members", async () => {
    const image = open.addImage("library/app", "v1", [700_000]);
    await pull(one, "library/app", image, open);
    open.requests.length = 0;
    const [layer] = image.layers;
    expect((await two.get("library/app/manifests/v1", open, STRANGER)).status).toBe(200);
    const given = await two.get(`library/app/blobs/${layer!.digest}`, open, STRANGER);
    expect(Buffer.from(await given.arrayBuffer()).equals(layer!.bytes)).toBe(true);
    const asked = open.requests.filter(({ path }) => path.includes("/blobs/"));
    expect(asked.map(({ headers }) => headers["range"])).toEqual(["bytes=0-0"]);
    open.requests.length = 0;
    await (await two.get(`library/app/blobs/${layer!.digest}`, open, STRANGER)).arrayBuffer();
    expect(open.requests).toEqual([]);
  });

  it("gets what is here already while the registry is out of reach, and root what members have", async () => {
    const image = open.addImage("library/app", "v1", [300_000]);
    await pull(one, "library/app", image, open);
    open.script(() => ({ status: 502 }));
    const path = `library/app/blobs/${image.layers[0]!.digest}`;
    expect((await two.get(path, open, STRANGER)).status).toBe(503);
    for (const headers of [{}, STRANGER])
      expect((await (await two.get(path, open, headers)).arrayBuffer()).byteLength).toBe(300_000);
  });

  it("gets an image of a registry that nobody knows from that registry", async () => {
    const image = unknown.addImage("library/app", "v1", [300_000]);
    expect((await two.get("library/app/manifests/v1", unknown, STRANGER)).status).toBe(200);
    const [layer] = image.layers;
    const path = `library/app/blobs/${layer!.digest}`;
    const given = await two.get(path, unknown, STRANGER);
    expect(Buffer.from(await given.arrayBuffer()).equals(layer!.bytes)).toBe(true);
    const part = await two.get(path, unknown, { ...STRANGER, range: "bytes=5-99" });
    expect(Buffer.from(await part.arrayBuffer()).equals(layer!.bytes.subarray(5, 100))).toBe(true);
  });
});
