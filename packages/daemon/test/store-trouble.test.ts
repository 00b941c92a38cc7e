import { execFile } from "node:child_process";
import { mkdtemp, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createApiClient } from "@shoal/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "./support.ts";

const execute = promisify(execFile);
const isRoot = process.getuid?.() === 0;

/** Long enough for the store to try again, which it does each 5 s. */
const RECOVERED = { timeout: 20_000, interval: 200 };

/** Fills a disk to its last byte, whatever else is written to it meanwhile. @returns the file that does */
async function fill(disk: string): Promise<string> {
  const { bavail, bsize } = await statfs(disk);
  const filler = join(disk, "filler");
  await writeFile(filler, new Uint8Array((bavail + 1) * bsize)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  });
  return filler;
}

describe.skipIf(!isRoot)("a daemon whose disk takes nothing", () => {
  let disk = "";
  beforeEach(async () => {
    disk = await mkdtemp(join(tmpdir(), "shoal-trouble-"));
    await execute("mount", ["-t", "tmpfs", "-o", "size=12m", "tmpfs", disk]);
  });
  afterEach(async () => {
    await execute("umount", [disk]);
    await rm(disk, { recursive: true });
  });

  async function pullAll(
    daemon: TestDaemon,
    name: string,
    layers: readonly number[],
  ): Promise<void> {
    const image = daemon.registry.addImage(name, "v1", layers);
    const manifest = await fetch(daemon.url(`${name}/manifests/v1`));
    expect(manifest.headers.get("docker-content-digest")).toBe(image.digest);
    const { layers: named } = (await manifest.json()) as {
      layers: { digest: string; size: number }[];
    };
    for (const { digest, size } of named) {
      const blob = await fetch(daemon.url(`${name}/blobs/${digest}`));
      expect((await blob.arrayBuffer()).byteLength).toBe(size);
    }
  }

  it("passes pulls through when it is full, says so, and stores again when there is room", {
    timeout: 60_000,
  }, async () => {
    await using daemon = await createTestDaemon({ state: join(disk, "state") });
    await using client = createApiClient({ socketPath: daemon.socket });
    await pullAll(daemon, "before", [300_000]);
    // Else it would make room.
    const name = `${daemon.registry.registry}/before:v1`;
    await expect.poll(async () => await client.images()).toMatchObject([{ name }]);
    await client.store.pin({ name });
    const filler = await fill(disk);
    await pullAll(daemon, "full", [3_000_000, 200_000]);
    const { store } = await client.status();
    expect(store.state).toBe("full");
    expect(store.why).toContain("free some disk space");
    const metrics = await (await fetch(`${daemon.metrics}/metrics`)).text();
    expect(metrics).toContain('shoal_store_state{state="full"} 1');
    expect(metrics).toMatch(/shoal_swarm_passed_through_total [1-9]/);
    await rm(filler);
    await expect.poll(async () => (await client.status()).store.state, RECOVERED).toBe("ok");
    await pullAll(daemon, "after", [1_000_000]);
    expect((await client.status()).store.blobBytes).toBeGreaterThan(1_300_000);
  });

  it("starts on a full disk and passes pulls through", { timeout: 60_000 }, async () => {
    const state = join(disk, "state");
    {
      await using daemon = await createTestDaemon({ state });
      await pullAll(daemon, "before", [300_000]);
    }
    const filler = await fill(disk);
    await using daemon = await createTestDaemon({ state });
    await using client = createApiClient({ socketPath: daemon.socket });
    await pullAll(daemon, "full", [1_000_000]);
    expect((await client.status()).store).toMatchObject({ state: "full" });
    await rm(filler);
    await expect.poll(async () => (await client.status()).store.state, RECOVERED).toBe("ok");
    await pullAll(daemon, "after", [1_000_000]);
    expect((await client.status()).store.blobBytes).toBeGreaterThan(1_300_000);
  });

  it("starts on a read-only disk and passes pulls through", { timeout: 60_000 }, async () => {
    const state = join(disk, "state");
    {
      await using daemon = await createTestDaemon({ state });
      await pullAll(daemon, "before", [300_000]);
    }
    await execute("mount", ["-o", "remount,ro", disk]);
    await using daemon = await createTestDaemon({ state });
    await using client = createApiClient({ socketPath: daemon.socket });
    await pullAll(daemon, "readonly", [1_000_000]);
    expect((await client.status()).store).toMatchObject({ state: "readOnly", blobs: 2 });
    await execute("mount", ["-o", "remount,rw", disk]);
    await expect.poll(async () => (await client.status()).store.state, RECOVERED).toBe("ok");
    await pullAll(daemon, "after", [1_000_000]);
    expect((await client.status()).store.blobBytes).toBeGreaterThan(1_300_000);
  });
});
