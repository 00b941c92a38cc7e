import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient, type Status } from "@shoal/api";
import { createSiteToken } from "@shoal/network";
import { createScriptedRegistry, type ScriptedRegistry } from "@shoal/upstream/testing";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "../support.ts";

const LOGIN = Buffer.from("me:registry-password").toString("base64");

let stack: AsyncDisposableStack;
let registry: ScriptedRegistry;
let open: ScriptedRegistry;
let tokenFile = "";
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "shoal-private-"));
  stack.defer(async () => await rm(folder, { recursive: true }));
  tokenFile = join(folder, "token");
  await writeFile(tokenFile, createSiteToken());
  const auth = { kind: "basic", username: "me", password: "registry-password" } as const;
  registry = stack.use(await createScriptedRegistry({ auth }));
  open = stack.use(await createScriptedRegistry());
});
afterEach(async () => await stack.disposeAsync());

async function statusOf(daemon: TestDaemon): Promise<Status> {
  await using api = createApiClient({ socketPath: daemon.socket });
  return await api.status();
}

/** A member with the rule, with a login or without. */
async function member(peers: readonly string[], hasLogin: boolean, share: "private" | "site") {
  const daemon = stack.use(
    await createTestDaemon(
      {
        site: { tokenFile },
        registries: { [registry.registry]: {}, [open.registry]: {} },
        share: [{ registry: registry.registry, share }],
        access: { provenSeconds: 0, graceSeconds: 3600 },
        swarm: { listen: ["127.0.0.1"], port: 0, bulkPort: 0, mdns: false, peers: [...peers] },
      },
      { registry, auths: hasLogin ? { [registry.registry]: { auth: LOGIN } } : {} },
    ),
  );
  return {
    daemon,
    get: async (path: string, ns = registry) =>
      await fetch(`${daemon.mirror}/v2/${path}?ns=${ns.registry}`),
  };
}

async function upTo(daemon: TestDaemon, peersUp: number): Promise<void> {
  await expect
    .poll(async () => (await statusOf(daemon)).peersUp, { timeout: 10_000 })
    .toBe(peersUp);
}

it("gives members what the registry lets them read, by way of members, and others nothing", async () => {
  const image = registry.addImage("team/app", "v1", [700_000]);
  const layer = image.layers[0]!;
  open.addImage("library/app", "v1", [1000]);
  const one = await member([], true, "private");
  for (const path of ["manifests/v1", `blobs/${layer.digest}`])
    expect((await (await one.get(`team/app/${path}`)).arrayBuffer()).byteLength).toBeGreaterThan(0);
  const peers = (await statusOf(one.daemon)).swarm;
  const two = await member(peers, true, "private");
  const without = await member(peers, false, "private");
  await upTo(one.daemon, 2);

  for (const path of ["manifests/v1", `manifests/${image.digest}`, `blobs/${layer.digest}`]) {
    expect([path, (await without.get(`team/app/${path}`)).status]).toEqual([path, 404]);
    expect([
      path,
      (await without.get(`library/app/${path.replace("v1", "none")}`, open)).status,
    ]).toEqual([path, 404]);
  }
  expect((await two.get("team/app/manifests/v1")).status).toBe(200);
  const blobs = () => registry.requests.filter(({ path }) => path.includes(layer.digest)).length;
  const before = blobs();
  const given = await two.get(`team/app/blobs/${layer.digest}`);
  expect(Buffer.from(await given.arrayBuffer()).equals(layer.bytes)).toBe(true);
  expect(blobs()).toBe(before);
});

it("serves on for a while when the registry is out of reach", async () => {
  registry.addImage("team/app", "v1", [1000]);
  const one = await member([], true, "private");
  expect((await one.get("team/app/manifests/v1")).status).toBe(200);
  registry.script(() => ({ status: 502 }));
  expect((await one.get("team/app/manifests/v1")).status).toBe(200);
  registry.script(() => ({ status: 403 }));
  expect((await one.get("team/app/manifests/v1")).status).toBe(404);
  registry.script(() => ({ status: 502 }));
  expect((await one.get("team/app/manifests/v1")).status).toBe(503);
});
