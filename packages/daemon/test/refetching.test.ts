import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ApiClient, createApiClient, type Verification } from "@shoal/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "./support.ts";

describe("what rots in the daemon's store", () => {
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

  async function verify(): Promise<Verification> {
    await client.store.startVerification();
    await expect.poll(async () => (await client.store.verification()).finishedAt).toBeDefined();
    return await client.store.verification();
  }

  async function flipBit(digest: string): Promise<void> {
    const file = join(daemon.configuration.state, "store/blobs", digest.replace(":", "/"));
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(file, bytes);
  }

  it("is found, and fetched again, layers and manifests", async () => {
    const image = daemon.registry.addImage("app", "v1", [400_000, 10]);
    const reference = `${daemon.registry.registry}/app:v1`;
    const { id } = await client.startPull({ reference });
    await expect.poll(async () => (await client.pull(id)).state).toBe("done");
    await expect(client.store.verification()).rejects.toMatchObject({ code: "ERR_NOT_VERIFIED" });
    const { layers } = await client.pull(id);
    const large = layers.find(({ sizeBytes }) => sizeBytes === 400_000)!.digest;
    for (const digest of [large, image.digest]) await flipBit(digest);
    const { findings, checkedBlobs } = await verify();
    expect(checkedBlobs).toBe(4);
    expect(findings.map(({ digest }) => digest).sort()).toEqual([large, image.digest].sort());
    await expect
      .poll(async () => (await client.images())[0], { timeout: 10_000 })
      .toMatchObject({ name: reference, complete: true });
    expect((await verify()).findings).toEqual([]);
    const audit = join(daemon.configuration.state, "audit/audit.jsonl");
    await expect
      .poll(async () => (await readFile(audit, "utf8")).match(/"kind":"rot"/g))
      .toHaveLength(2);
    expect(await client.store.rebuild()).toMatchObject({ blobs: 4, manifests: 1, goneBlobs: 0 });
  });
});
