import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { floorOf } from "../src/store-room.ts";
import { daemonForEach } from "./support.ts";

const GIB = 1024 ** 3;

describe("what the daemon keeps and lets go of", () => {
  const t = daemonForEach();

  async function pull(name: string): Promise<string> {
    const image = t.daemon.registry.addImage(name, "v1", [400_000, 10]);
    const reference = `${t.daemon.registry.registry}/${name}:v1`;
    const { id } = await t.client.startPull({ reference });
    await expect
      .poll(async () => (await t.client.pull(id)).state, { timeout: 10_000 })
      .toBe("done");
    return image.digest;
  }

  it("keeps a pinned image, and lets others go with their names", async () => {
    const digest = await pull("kept");
    await pull("other");
    const name = `${t.daemon.registry.registry}/kept:v1`;
    expect(await t.client.store.pin({ name })).toMatchObject({ name, digest });
    const [pin] = await t.client.store.pins();
    expect(pin!.sizeBytes).toBeGreaterThan(400_000);
    const planned = await t.client.store.collect({ dryRun: true, targetBytes: 0 });
    expect(planned.removals).toMatchObject([
      { kind: "image", names: [`${t.daemon.registry.registry}/other:v1`], blobs: 4 },
    ]);
    expect(await t.client.images()).toHaveLength(2);
    const done = await t.client.store.collect({ targetBytes: 0 });
    expect(done.wonBytes).toBe(planned.wonBytes);
    expect(await t.client.images()).toMatchObject([{ name, complete: true }]);
    const audit = join(t.daemon.configuration.state, "audit/audit.jsonl");
    await expect
      .poll(async () => await readFile(audit, "utf8"))
      .toMatch(/"kind":"gc","object":"image",.*other:v1.*"reason":"least-recently-used","blobs":4/);
    expect(await t.client.store.unpin({ name: digest })).toMatchObject([{ name }]);
    await t.client.store.collect({ targetBytes: 0 });
    expect((await t.client.status()).store.blobs).toBe(0);
  });

  it("names an image again that an engine pulls after it has gone", async () => {
    t.daemon.registry.addImage("app", "v1", [10]);
    const ask = async (): Promise<void> => {
      const answer = await fetch(t.daemon.url("app/manifests/v1"));
      await answer.arrayBuffer();
      await expect.poll(async () => (await t.client.images()).length).toBe(1);
    };
    await ask();
    await t.client.store.collect({ targetBytes: 0 });
    expect(await t.client.images()).toEqual([]);
    await ask();
  });

  it("pins nothing that is not there", async () => {
    for (const name of ["alpine", `sha256:${"ab".repeat(32)}`])
      await expect(t.client.store.pin({ name })).rejects.toMatchObject({
        code: "ERR_IMAGE_NOT_STORED",
      });
    await expect(t.client.store.pin({ name: "Not:A:Name" })).rejects.toMatchObject({
      code: "ERR_REFERENCE_INVALID",
    });
    expect(await t.client.store.unpin({ name: "alpine" })).toEqual([]);
  });

  it.each([
    [1, 0.25],
    [10, 2],
    [100, 5],
  ])("leaves of a disk of %i GiB %d free", (diskGib, floorGib) => {
    expect(floorOf(diskGib * GIB)).toBe(floorGib * GIB);
  });
});
