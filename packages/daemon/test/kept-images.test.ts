import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ApiClient, createApiClient } from "@shoal/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { floorOf } from "../src/store-room.ts";
import { createTestDaemon, type TestDaemon } from "./support.ts";

const GIB = 1024 ** 3;

describe("what the daemon keeps and lets go of", () => {
  let daemon: TestDaemon;
  let client: ApiClient;
  beforeEach(async () => {
    daemon = await createTestDaemon();
    client = createApiClient({ socketPath: daemon.socket });
  });
  afterEach(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
  });

  async function pull(name: string): Promise<string> {
    const image = daemon.registry.addImage(name, "v1", [400_000, 10]);
    const reference = `${daemon.registry.registry}/${name}:v1`;
    const { id } = await client.startPull({ reference });
    await expect.poll(async () => (await client.pull(id)).state).toBe("done");
    return image.digest;
  }

  it("keeps a pinned image, and lets others go with their names", async () => {
    const digest = await pull("kept");
    await pull("other");
    const name = `${daemon.registry.registry}/kept:v1`;
    expect(await client.store.pin({ name })).toMatchObject({ name, digest });
    const [pin] = await client.store.pins();
    expect(pin!.sizeBytes).toBeGreaterThan(400_000);
    const planned = await client.store.collect({ dryRun: true, targetBytes: 0 });
    expect(planned.removals).toMatchObject([
      { kind: "image", names: [`${daemon.registry.registry}/other:v1`], blobs: 4 },
    ]);
    expect(await client.images()).toHaveLength(2);
    const done = await client.store.collect({ targetBytes: 0 });
    expect(done.wonBytes).toBe(planned.wonBytes);
    expect(await client.images()).toMatchObject([{ name, complete: true }]);
    const audit = join(daemon.configuration.state, "audit/audit.jsonl");
    await expect
      .poll(async () => await readFile(audit, "utf8"))
      .toMatch(/"kind":"gc","object":"image",.*other:v1.*"reason":"least-recently-used","blobs":4/);
    expect(await client.store.unpin({ name: digest })).toMatchObject([{ name }]);
    await client.store.collect({ targetBytes: 0 });
    expect((await client.status()).store.blobs).toBe(0);
  });

  it("names an image again that an engine pulls after it has gone", async () => {
    daemon.registry.addImage("app", "v1", [10]);
    const ask = async (): Promise<void> => {
      const answer = await fetch(daemon.url("app/manifests/v1"));
      await answer.arrayBuffer();
      await expect.poll(async () => (await client.images()).length).toBe(1);
    };
    await ask();
    await client.store.collect({ targetBytes: 0 });
    expect(await client.images()).toEqual([]);
    await ask();
  });

  it("pins nothing that is not there", async () => {
    for (const name of ["alpine", `sha256:${"ab".repeat(32)}`])
      await expect(client.store.pin({ name })).rejects.toMatchObject({
        code: "ERR_IMAGE_NOT_STORED",
      });
    await expect(client.store.pin({ name: "Not:A:Name" })).rejects.toMatchObject({
      code: "ERR_REFERENCE_INVALID",
    });
    expect(await client.store.unpin({ name: "alpine" })).toEqual([]);
  });

  it.each([
    [1, 0.25],
    [10, 2],
    [100, 5],
  ])("leaves of a disk of %i GiB %d free", (diskGib, floorGib) => {
    expect(floorOf(diskGib * GIB)).toBe(floorGib * GIB);
  });
});
