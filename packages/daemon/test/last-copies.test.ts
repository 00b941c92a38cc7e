import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiClient, createApiClient } from "@shoal/api";
import { createSiteToken } from "@shoal/network";
import { createScriptedRegistry } from "@shoal/upstream/testing";
import { expect, it } from "vitest";
import { createTestDaemon } from "./support.ts";

it("what another member keeps goes before what only this one has, though it was used later", {
  timeout: 30_000,
}, async () => {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "shoal-last-"));
  stack.defer(async () => await rm(folder, { recursive: true }));
  const tokenFile = join(folder, "token");
  await writeFile(tokenFile, createSiteToken());
  const registry = stack.use(await createScriptedRegistry());
  for (const name of ["only", "both"]) registry.addImage(name, "v1", [300_000]);

  async function start(peers: string[]): Promise<ApiClient> {
    const daemon = stack.use(
      await createTestDaemon(
        {
          site: { tokenFile },
          swarm: { listen: ["127.0.0.1"], port: 0, bulkPort: 0, mdns: false, peers },
        },
        { registry },
      ),
    );
    return stack.use(createApiClient({ socketPath: daemon.socket }));
  }

  async function pull(client: ApiClient, name: string): Promise<void> {
    const { id } = await client.startPull({ reference: `${registry.registry}/${name}:v1` });
    await expect.poll(async () => (await client.pull(id)).state, { timeout: 10_000 }).toBe("done");
  }

  const one = await start([]);
  const two = await start([...(await one.status()).swarm]);
  await expect.poll(async () => (await one.status()).peersUp, { timeout: 10_000 }).toBe(1);
  await pull(one, "only");
  // This way round: what a member is being given stays open for a while.
  for (const client of [two, one]) await pull(client, "both");
  const plan = await one.store.collect({ dryRun: true, targetBytes: 400_000 });
  expect(plan.removals).toMatchObject([
    { names: [`${registry.registry}/both:v1`], reason: "least-recently-used" },
  ]);
  await one.store.collect({ targetBytes: 400_000 });
  expect((await one.images()).map(({ name }) => name)).toEqual([`${registry.registry}/only:v1`]);
  const last = await one.store.collect({ targetBytes: 0 });
  expect(last.removals).toMatchObject([{ reason: "last-copy" }]);
});
