import { randomBytes } from "node:crypto";
import { copyFile, mkdtemp, open, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestHex, digestOf, MEDIA_TYPES } from "@shoal/oci";
import { type Clock, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BlobInfo, type FileStore, openFileStore } from "../src/index.ts";
import { manifestTypeOf } from "../src/rebuild.ts";

const KIB = 1024;
const DAY_MS = 24 * 3600_000;

/** A clock whose waits pass at once, and whose wall time a test moves on. */
function quickClock(): Clock & { aheadMs: number } {
  const clock = {
    ...systemClock,
    aheadMs: 0,
    wallNow: () => Date.now() + clock.aheadMs,
    schedule: (delayMs: number, callback: () => void) =>
      systemClock.schedule(delayMs / 10_000, callback),
  };
  return clock;
}

describe("a store that looks for rot", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-scrub-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  const openStore = async (clock: Clock = systemClock, scrubDays = 0): Promise<FileStore> =>
    await openFileStore(
      { clock, logger: silentLogger, metrics: noMetrics },
      { directory: join(folder, "s"), scrubDays },
    );
  const fileOf = (digest: Digest): string => join(folder, "s/blobs/sha256", digestHex(digest));
  const quarantined = async (): Promise<string[]> =>
    await readdir(join(folder, "s/quarantine")).catch(() => []);

  async function put(store: FileStore, sizeBytes: number): Promise<Digest> {
    const bytes = new Uint8Array(randomBytes(sizeBytes));
    const digest = digestOf(bytes);
    await store.put(digest, bytes);
    return digest;
  }

  async function flipBit(digest: Digest, offset: number): Promise<void> {
    await using file = await open(fileOf(digest), "r+");
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
    buffer[0]! ^= 0x10;
    await file.write(buffer, 0, 1, offset);
  }

  it("finds a turned bit, a cut file and a missing one, puts them aside, and tells", async () => {
    await using store = await openStore();
    const [good, turned, cut, missing] = [
      await put(store, 3000 * KIB),
      await put(store, 3000 * KIB),
      await put(store, 10 * KIB),
      await put(store, 10),
    ];
    await flipBit(turned, 2500 * KIB);
    await truncate(fileOf(cut), 5 * KIB);
    await rm(fileOf(missing));
    const rotted: BlobInfo[] = [];
    const removed: BlobInfo[] = [];
    store.on("rotted", (info) => rotted.push(info));
    store.on("removed", (info) => removed.push(info));
    const { findings, checkedBlobs, finishedMs } = await store.verify();
    expect(finishedMs).toBeDefined();
    expect(checkedBlobs).toBe(4);
    const faults = new Map(findings.map(({ digest, fault }) => [digest, fault]));
    expect(faults).toEqual(
      new Map([
        [turned, "rotten"],
        [cut, "unreadable"],
        [missing, "missing"],
      ]),
    );
    expect([...store.blobs()].map(({ digest }) => digest)).toEqual([good]);
    expect(rotted).toHaveLength(3);
    expect(removed.length).toBeGreaterThanOrEqual(3);
    expect(new Set((await quarantined()).map((name) => name.split(".")[0]))).toEqual(
      new Set([turned, cut].map((digest) => digest.replace(":", "-"))),
    );
    expect((await store.verify()).findings).toEqual([]);
  });

  it("takes a blob again that rotted", async () => {
    await using store = await openStore();
    const bytes = new Uint8Array(randomBytes(100 * KIB));
    const digest = digestOf(bytes);
    await store.put(digest, bytes);
    await flipBit(digest, 7);
    expect(await store.doubt(digest)).toBe(true);
    expect(store.stat(digest)).toBeUndefined();
    expect(await store.doubt(digest)).toBe(false);
    await store.put(digest, bytes);
    expect((await store.verify()).findings).toEqual([]);
  });

  it("reads all in the background once in the time that is set, and goes on after a restart", async () => {
    const clock = quickClock();
    let rotten: Digest;
    {
      await using store = await openStore(clock, 30);
      rotten = await put(store, 100 * KIB);
      // Else it would go for being of no use.
      await store.pin("a.lan/a:1", rotten);
      await flipBit(rotten, 99 * KIB);
      // Its first look only notes the time.
      await expect.poll(async () => await store.table("scrub").get("last")).toBeDefined();
      clock.aheadMs += 29 * DAY_MS;
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(store.stat(rotten)).toBeDefined();
    }
    await using store = await openStore(clock, 30);
    clock.aheadMs += 2 * DAY_MS;
    await expect.poll(() => store.stat(rotten)).toBeUndefined();
    await expect.poll(quarantined).toHaveLength(1);
    await expect
      .poll(async () => await store.table("scrub").get("last"))
      .toMatchObject({ finishedMs: expect.any(Number) as number });
  });

  it("keeps what rotted for a week, and not at the cost of what is wanted", async () => {
    const clock = quickClock();
    for (const how of ["time", "room"]) {
      await using store = await openFileStore(
        { clock, logger: silentLogger, metrics: noMetrics },
        { directory: join(folder, "s"), maxBytes: 300 * KIB },
      );
      const digest = await put(store, 200 * KIB);
      await flipBit(digest, 1);
      await store.verify();
      expect(await quarantined()).toHaveLength(1);
      if (how === "time") clock.aheadMs += 8 * DAY_MS;
      else await put(store, 150 * KIB);
      await expect.poll(quarantined, { timeout: 5000 }).toEqual([]);
    }
  });

  it("makes its index anew from the blobs, be it damaged or changed behind its back", async () => {
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: "a/b", digest: digestOf(Buffer.from("c")), size: 1 },
        layers: [],
      }),
    );
    const digest = digestOf(manifest);
    let gone: Digest;
    {
      await using store = await openStore();
      await store.put(digest, manifest);
      gone = await put(store, 100);
      await store.table("manifests").put(gone, { mediaType: "x/y" });
    }
    await rm(join(folder, "s/index"), { recursive: true });
    await using store = await openStore();
    await expect
      .poll(async () => await store.table("manifests").get(digest))
      .toEqual({ mediaType: MEDIA_TYPES.ociManifest });
    await rm(fileOf(gone));
    const copied = new Uint8Array(randomBytes(2000));
    await writeFile(fileOf(digestOf(copied)), copied);
    // One that is not what its name says.
    await copyFile(fileOf(digest), fileOf(digestOf(Buffer.from("other"))));
    expect(await store.rebuild()).toMatchObject({
      blobs: 2,
      addedBlobs: 1,
      goneBlobs: 1,
      manifests: 1,
    });
    expect(await store.readAll(digestOf(copied), 4000)).toEqual(copied);
    expect(await quarantined()).toHaveLength(1);
  });

  it.each([
    [{ manifests: [] }, MEDIA_TYPES.ociIndex],
    [{ config: {}, layers: [] }, MEDIA_TYPES.ociManifest],
    [{ config: {}, layers: [], mediaType: "x/y" }, "x/y"],
    [{ config: {}, layers: [], manifests: [] }, undefined],
    [{ architecture: "amd64", config: {} }, undefined],
    [[], undefined],
    [null, undefined],
  ])("takes %j for %s", (body, mediaType) => {
    expect(manifestTypeOf(Buffer.from(JSON.stringify(body)))).toBe(mediaType);
  });
});
