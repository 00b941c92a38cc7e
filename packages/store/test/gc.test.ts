import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Digest, digestHex, digestOf, MEDIA_TYPES } from "@shoal/oci";
import { type Clock, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type FileStore, openFileStore, type PieceIndex } from "../src/index.ts";

const KIB = 1024;
const HOUR_MS = 3600_000;
const PIECE = 256 * KIB;

/** The machine's clock, but for a time of day that the test sets. */
function steppedClock(): Clock & { wallMs: number } {
  const clock = {
    ...systemClock,
    wallMs: Date.now(),
    wallNow: () => clock.wallMs,
  };
  return clock;
}

interface TestImage {
  readonly name: string;
  readonly manifest: Digest;
  readonly layers: readonly Digest[];
}

describe("a store that makes room", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-gc-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  async function openStore(
    maxBytes: number,
    clock: Clock = systemClock,
    lastCopies: readonly Digest[] = [],
  ): Promise<FileStore> {
    return await openFileStore(
      {
        clock,
        logger: silentLogger,
        metrics: noMetrics,
        lastCopies: async (digests) => new Set(digests.filter((one) => lastCopies.includes(one))),
      },
      { directory: join(folder, "s"), maxBytes },
    );
  }

  async function putBlob(store: FileStore, sizeBytes: number): Promise<Digest> {
    const bytes = new Uint8Array(randomBytes(sizeBytes));
    const digest = digestOf(bytes);
    await store.put(digest, bytes);
    return digest;
  }

  /** An image with a layer of its own of 100 KiB, and others that it shares. */
  async function putImage(
    store: FileStore,
    name: string,
    shared: readonly Digest[] = [],
  ): Promise<TestImage> {
    const layers = [await putBlob(store, 100 * KIB), ...shared];
    const config = await putBlob(store, 20);
    const describe_ = (digest: Digest): object => ({
      mediaType: "application/octet-stream",
      digest,
      size: store.stat(digest)!.sizeBytes,
    });
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociManifest,
        config: describe_(config),
        layers: layers.map(describe_),
        annotations: { name },
      }),
    );
    const manifest = digestOf(bytes);
    await store.put(manifest, bytes);
    await store.table("manifests").put(manifest, { mediaType: MEDIA_TYPES.ociManifest });
    const descriptor = {
      mediaType: MEDIA_TYPES.ociManifest,
      digest: manifest,
      size: bytes.length,
    };
    await store.nameImage({ name, descriptor });
    return { name, manifest, layers: [layers[0]!, config] };
  }

  const has = (store: FileStore, { manifest, layers }: TestImage): boolean[] =>
    [manifest, ...layers].map((digest) => store.stat(digest) !== undefined);

  it("lets the image go that was used least recently, files, name and all", async () => {
    const clock = steppedClock();
    await using store = await openStore(250 * KIB, clock);
    const first = await putImage(store, "docker.io/library/first:1");
    clock.wallMs += HOUR_MS;
    const second = await putImage(store, "docker.io/library/second:1");
    clock.wallMs += HOUR_MS;
    await store.readAll(first.manifest, KIB * 10);
    const planned = await store.collect({ targetBytes: 200 * KIB, dryRun: true });
    expect(planned.removals.map(({ digest }) => digest)).toEqual([second.manifest]);
    expect(has(store, second)).toEqual([true, true, true]);
    await putBlob(store, 100 * KIB);
    expect(has(store, second)).toEqual([false, false, false]);
    expect(has(store, first)).toEqual([true, true, true]);
    expect((await store.images()).map(({ name }) => name)).toEqual([first.name]);
    const files = await readdir(join(folder, "s/blobs/sha256"));
    expect(files).not.toContain(digestHex(second.manifest));
    expect(files).toHaveLength(4);
    expect((await store.usage()).blobBytes).toBeLessThan(250 * KIB);
  });

  it("knows after a restart what was used", async () => {
    const clock = steppedClock();
    let first: TestImage;
    let second: TestImage;
    {
      await using store = await openStore(1000 * KIB, clock);
      first = await putImage(store, "a.lan/first:1");
      second = await putImage(store, "a.lan/second:1");
      clock.wallMs += HOUR_MS;
      await store.readAll(first.manifest, KIB * 10);
      // Looking is no use.
      clock.wallMs += HOUR_MS;
      await store.readAll(second.manifest, KIB * 10, { isUse: false });
    }
    await using store = await openStore(1000 * KIB, clock);
    await store.collect({ targetBytes: 150 * KIB });
    expect(has(store, first)).toEqual([true, true, true]);
    expect(has(store, second)).toEqual([false, false, false]);
  });

  it("keeps a pinned image over restarts, until it is unpinned", async () => {
    let image: TestImage;
    {
      await using store = await openStore(1000 * KIB);
      const base = await putBlob(store, 50 * KIB);
      image = await putImage(store, "a.lan/app:1", [base]);
      await store.pin(image.name, image.manifest);
      await expect(store.pin("a.lan/none:1", digestOf(Buffer.from("x")))).rejects.toMatchObject({
        code: "ERR_BLOB_NOT_STORED",
      });
    }
    await using store = await openStore(1000 * KIB);
    await putImage(store, "a.lan/other:1");
    const { shortBytes } = await store.collect({ targetBytes: 0 });
    expect(shortBytes).toBeGreaterThan(150 * KIB);
    expect(has(store, image)).toEqual([true, true, true]);
    expect((await store.usage()).blobs).toBe(4);
    const [pin] = await store.pins();
    expect(pin).toMatchObject({ name: image.name, digest: image.manifest });
    expect(pin!.sizeBytes).toBe((await store.usage()).blobBytes);
    expect(await store.unpin(image.manifest)).toHaveLength(1);
    await store.collect({ targetBytes: 0 });
    expect([...store.blobs()]).toEqual([]);
  });

  it("spares what is being read, and what is arriving", async () => {
    await using store = await openStore(2000 * KIB);
    const read = await putImage(store, "a.lan/read:1");
    const bytes = new Uint8Array(randomBytes(PIECE * 2));
    await using ingest = await store.openIngest({
      digest: digestOf(bytes),
      sizeBytes: bytes.length,
    });
    {
      await using _handle = (await store.open(read.layers[0]!))!;
      await store.collect({ targetBytes: 0 });
      expect(has(store, read)).toEqual([true, true, true]);
    }
    for (const piece of [0, 1])
      await ingest.write(piece as PieceIndex, bytes.subarray(piece * PIECE, (piece + 1) * PIECE));
    await store.collect({ targetBytes: 0 });
    expect(has(store, read)).toEqual([false, false, false]);
    await ingest.commit();
  });

  it("lets what only it holds go last", async () => {
    const clock = steppedClock();
    const bytes = new Uint8Array(randomBytes(100 * KIB));
    const only = digestOf(bytes);
    await using store = await openStore(1000 * KIB, clock, [only]);
    await store.put(only, bytes);
    clock.wallMs += HOUR_MS;
    const elsewhere = await putBlob(store, 100 * KIB);
    await store.collect({ targetBytes: 150 * KIB });
    expect(store.stat(elsewhere)).toBeUndefined();
    const { removals } = await store.collect({ targetBytes: 0 });
    expect(removals).toMatchObject([{ digest: only, reason: "last-copy" }]);
  });

  it("asks a few times about many, where all of it is the last", async () => {
    let questions = 0;
    const directory = join(folder, "s");
    await using store = await openFileStore(
      {
        clock: systemClock,
        logger: silentLogger,
        metrics: noMetrics,
        async lastCopies(digests) {
          questions += 1;
          return new Set(digests);
        },
      },
      { directory },
    );
    for (let index = 0; index < 60; index++) await putBlob(store, 100);
    const { removals } = await store.collect({ targetBytes: 5900 });
    expect(removals).toMatchObject([{ reason: "last-copy" }]);
    expect(questions).toBeLessThanOrEqual(5);
  });

  it("never loses a site's last copy where two stores let it go at once", async () => {
    for (let round = 0; round < 10; round++) {
      const stores: FileStore[] = [];
      const bodies = Array.from({ length: 6 }, () => new Uint8Array(randomBytes(1000)));
      const asked = [0, 0];
      for (const self of [0, 1]) {
        const lastCopies = async (digests: readonly Digest[]): Promise<ReadonlySet<Digest>> => {
          asked[self]! += 1;
          await delay(Math.random() * 5);
          const last = digests.filter((digest) => !stores[1 - self]!.keeps(digest, self === 0));
          await delay(Math.random() * 5);
          return new Set(last);
        };
        const components = { clock: systemClock, logger: silentLogger, metrics: noMetrics };
        const directory = join(folder, `${round}-${self}`);
        const store = await openFileStore({ ...components, lastCopies }, { directory });
        for (const body of bodies) await store.put(digestOf(body), body);
        stores.push(store);
      }
      await Promise.all(
        stores.map(async (store) => {
          await delay(Math.random() * 5);
          await store.collect({ targetBytes: 3000 });
        }),
      );
      expect(asked.every((count) => count > 0)).toBe(true);
      for (const body of bodies)
        expect(stores.some((store) => store.stat(digestOf(body)) !== undefined)).toBe(true);
      for (const store of stores) {
        expect((await store.usage()).blobs).toBe(3);
        await store[Symbol.asyncDispose]();
      }
    }
  });

  it("counts unfinished ingests, and drops those that nobody goes on with", async () => {
    const clock = steppedClock();
    const bytes = new Uint8Array(randomBytes(PIECE * 2));
    const info = { digest: digestOf(bytes), sizeBytes: bytes.length };
    const data = join(folder, "s/ingests", `sha256-${digestHex(info.digest)}.data`);
    await using store = await openStore(3 * PIECE, clock);
    {
      await using ingest = await store.openIngest(info);
      await ingest.write(0 as PieceIndex, bytes.subarray(0, PIECE));
    }
    expect((await store.usage()).ingestBytes).toBe(PIECE);
    await store.collect();
    expect(await readdir(join(folder, "s/ingests"))).toHaveLength(2);
    // A blob of more than half of the store is not worth what it would push out.
    const large = { digest: digestOf(Buffer.from("large")), sizeBytes: 2 * PIECE + 1 };
    await expect(store.openIngest(large)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
    const dayAgo = (clock.wallMs - 25 * HOUR_MS) / 1000;
    await utimes(data, dayAgo, dayAgo);
    const { removals } = await store.collect();
    expect(removals).toMatchObject([{ kind: "ingest", digest: info.digest }]);
    expect(await readdir(join(folder, "s/ingests"))).toEqual([]);
    await using again = await store.openIngest(info);
    expect(again.have.count).toBe(0);
    await again.discard();
    await store.openIngest(large).then(async (ingest) => await ingest.discard());
  });

  it("never promises more than its quota, and makes room for many at once", async () => {
    await using store = await openStore(1000 * KIB);
    for (let index = 0; index < 9; index++) await putImage(store, `a.lan/image:${index}`);
    const begun = await Promise.allSettled(
      Array.from(
        { length: 8 },
        async (_, index) =>
          await store.openIngest({
            digest: digestOf(Buffer.from(`${index}`)),
            sizeBytes: 120 * KIB,
          }),
      ),
    );
    const open = begun.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(open.length).toBeGreaterThanOrEqual(4);
    const promisedBytes = open.length * 120 * KIB;
    expect((await store.usage()).blobBytes + promisedBytes).toBeLessThanOrEqual(1000 * KIB);
    for (const ingest of open) await ingest.discard();
  });
});
