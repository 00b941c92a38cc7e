import { mkdtemp, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestHex, digestOf, MEDIA_TYPES } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type FileStore, openFileStore } from "../src/index.ts";

const LAYER_BYTES = 2000;
const IMAGES = 5;
const DAY_MS = 24 * 3600_000;

/** Layers that images share: image i has layers i and i + 1, of which i + 1 is the next one's as well. */
const layers = Array.from({ length: IMAGES + 1 }, (_, index) => Buffer.alloc(LAYER_BYTES, index));
const images = Array.from({ length: IMAGES }, (_, index) => {
  const named = [layers[index]!, layers[index + 1]!];
  const describe_ = (bytes: Uint8Array): object => ({
    mediaType: "application/octet-stream",
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: describe_(named[0]!),
      layers: named.map(describe_),
    }),
  );
  return { name: `a.lan/image:${index}`, manifest, blobs: [manifest, ...named] };
});

const image = fc.nat(IMAGES - 1);
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ pull: image }) },
  { weight: 2, arbitrary: fc.record({ pin: image }) },
  fc.record({ unpin: image }),
  { weight: 2, arbitrary: fc.record({ use: image }) },
  { weight: 2, arbitrary: fc.record({ collectToBytes: fc.nat(12_000) }) },
  fc.record({ rot: fc.nat(IMAGES) }),
  fc.constant({ verify: true }),
  fc.constant({ rebuild: true }),
  fc.constant({ restart: true }),
  fc.constant({ dayPasses: true }),
);

describe("the store on disk, whatever is done to it", () => {
  it("keeps what is pinned, shows what is on the disk, and gives nothing wrong after it has looked", {
    timeout: 60_000,
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-model-"));
    let count = 0;
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
          const directory = join(folder, `${count++}`);
          const clock = {
            ...systemClock,
            aheadMs: 0,
            wallNow: () => Date.now() + clock.aheadMs,
          };
          const openStore = async (): Promise<FileStore> =>
            await openFileStore({ clock, logger: silentLogger, metrics: noMetrics }, { directory });
          const fileOf = (digest: Digest): string =>
            join(directory, "blobs/sha256", digestHex(digest));
          let store = await openStore();
          const pinned = new Set<number>();
          /** Turned since they were last looked at. */
          const rotten = new Set<Digest>();
          /** Found to be wrong since they were last pulled. */
          const lost = new Set<Digest>();

          for (const one of steps) {
            clock.aheadMs += 1000;
            if ("pull" in one) {
              const { name, manifest, blobs } = images[one.pull]!;
              for (const bytes of blobs) {
                await store.put(digestOf(bytes), bytes);
                if (!rotten.has(digestOf(bytes))) lost.delete(digestOf(bytes));
              }
              const digest = digestOf(manifest);
              const descriptor = {
                mediaType: MEDIA_TYPES.ociManifest,
                digest,
                size: manifest.length,
              };
              await store.table("manifests").put(digest, { mediaType: descriptor.mediaType });
              await store.nameImage({ name, descriptor });
            } else if ("pin" in one) {
              const { name, manifest } = images[one.pin]!;
              const done = await store.pin(name, digestOf(manifest)).then(
                () => true,
                () => false,
              );
              if (done) pinned.add(one.pin);
            } else if ("unpin" in one) {
              await store.unpin(images[one.unpin]!.name);
              pinned.delete(one.unpin);
            } else if ("use" in one) {
              await store.readAll(digestOf(images[one.use]!.manifest), 10_000);
            } else if ("collectToBytes" in one) {
              const { wonBytes, shortBytes } = await store.collect({
                targetBytes: one.collectToBytes,
              });
              expect(wonBytes).toBeGreaterThanOrEqual(0);
              if (shortBytes === 0)
                expect((await store.usage()).blobBytes).toBeLessThanOrEqual(one.collectToBytes);
              else expect(pinned.size).toBeGreaterThan(0);
            } else if ("rot" in one) {
              const digest = digestOf(layers[one.rot]!);
              if (store.stat(digest) !== undefined && !rotten.has(digest)) {
                await using file = await open(fileOf(digest), "r+");
                await file.write(Buffer.of(0xff), 0, 1, 100);
                rotten.add(digest);
              }
            } else if ("verify" in one) {
              const { findings } = await store.verify();
              const found = new Set(findings.map(({ digest }) => digest));
              for (const digest of rotten)
                if (found.has(digest)) lost.add(digest);
                else expect(store.stat(digest)).toBeUndefined();
              for (const digest of found) expect(rotten.has(digest)).toBe(true);
              rotten.clear();
            } else if ("rebuild" in one) {
              expect(await store.rebuild()).toMatchObject({ addedBlobs: 0, goneBlobs: 0 });
            } else if ("restart" in one) {
              await store[Symbol.asyncDispose]();
              store = await openStore();
            } else clock.aheadMs += DAY_MS;

            // A blob that went and came again is another file.
            for (const digest of rotten)
              if (store.stat(digest) === undefined) rotten.delete(digest);
            const here = [...store.blobs()].map(({ digest }) => digest);
            const files = await readdir(join(directory, "blobs/sha256"));
            expect(new Set(files)).toEqual(new Set(here.map(digestHex)));
            let sum = 0;
            for (const digest of here) {
              sum += (await stat(fileOf(digest))).size;
              if (!rotten.has(digest))
                expect(digestOf(await readFile(fileOf(digest)))).toBe(digest);
            }
            expect((await store.usage()).blobBytes).toBe(sum);
            expect((await store.pins()).map(({ name }) => name).sort()).toEqual(
              [...pinned].map((index) => images[index]!.name).sort(),
            );
            for (const index of pinned)
              for (const bytes of images[index]!.blobs)
                if (!lost.has(digestOf(bytes)))
                  expect(store.stat(digestOf(bytes)), images[index]!.name).toBeDefined();
            for (const { descriptor } of await store.images())
              expect(store.stat(descriptor.digest)).toBeDefined();
          }
          await store[Symbol.asyncDispose]();
          await rm(directory, { recursive: true });
        }),
        { numRuns: 25 },
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
