import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Verification } from "@shoal/api";
import { describe, expect, it } from "vitest";
import { daemonForEach } from "./support.ts";

describe("what rots in the daemon's store", () => {
  const t = daemonForEach();

  async function verify(): Promise<Verification> {
    await t.client.store.startVerification();
    await expect.poll(async () => (await t.client.store.verification()).finishedAt).toBeDefined();
    return await t.client.store.verification();
  }

  async function flipBit(digest: string): Promise<void> {
    const file = join(t.daemon.configuration.state, "store/blobs", digest.replace(":", "/"));
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(file, bytes);
  }

  it("is found, and fetched again, layers and manifests", async () => {
    const image = t.daemon.registry.addImage("app", "v1", [400_000, 10]);
    const reference = `${t.daemon.registry.registry}/app:v1`;
    const { id } = await t.client.startPull({ reference });
    await expect
      .poll(async () => (await t.client.pull(id)).state, { timeout: 10_000 })
      .toBe("done");
    await expect(t.client.store.verification()).rejects.toMatchObject({ code: "ERR_NOT_VERIFIED" });
    const { layers } = await t.client.pull(id);
    const large = layers.find(({ sizeBytes }) => sizeBytes === 400_000)!.digest;
    for (const digest of [large, image.digest]) await flipBit(digest);
    const { findings, checkedBlobs } = await verify();
    expect(checkedBlobs).toBe(4);
    expect(findings.map(({ digest }) => digest).sort()).toEqual([large, image.digest].sort());
    await expect
      .poll(async () => (await t.client.images())[0], { timeout: 10_000 })
      .toMatchObject({ name: reference, complete: true });
    expect((await verify()).findings).toEqual([]);
    const audit = join(t.daemon.configuration.state, "audit/audit.jsonl");
    await expect
      .poll(async () => (await readFile(audit, "utf8")).match(/"kind":"rot"/g))
      .toHaveLength(2);
    expect(await t.client.store.rebuild()).toMatchObject({ blobs: 4, manifests: 1, goneBlobs: 0 });
  });
});
