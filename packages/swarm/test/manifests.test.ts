import { digestOf, MEDIA_TYPES } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { createMemoryStore } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createManifestCache } from "../src/manifest-cache.ts";
import { createManifests, type Manifest } from "../src/manifests.ts";

function manifestOf(lengthBytes: number, fill = "m"): Manifest {
  const bytes = new Uint8Array(Buffer.alloc(lengthBytes, fill));
  return { digest: digestOf(bytes), mediaType: MEDIA_TYPES.ociManifest, bytes };
}

describe("manifests of the store", () => {
  function createCounted() {
    const store = createMemoryStore();
    const counts = { reads: 0 };
    /** A bit of what is read is turned. */
    const disk = { rotten: false };
    const manifests = createManifests(
      {
        ...store,
        async readAll(digest, limitBytes) {
          counts.reads += 1;
          const bytes = await store.readAll(digest, limitBytes);
          if (bytes !== undefined && disk.rotten) bytes[0]! ^= 1;
          return bytes;
        },
      },
      silentLogger,
    );
    return { store, manifests, counts, disk };
  }

  it("are read once, and gone when the store has them no more", async () => {
    const { store, manifests, counts } = createCounted();
    const manifest = manifestOf(1000);
    await manifests.put(manifest);
    for (let round = 0; round < 3; round++)
      expect(await manifests.get(manifest.digest)).toEqual(manifest);
    expect(counts.reads).toBe(1);
    await store.remove(manifest.digest);
    expect(await manifests.get(manifest.digest)).toBeUndefined();
  });

  it("have the media type that was put last", async () => {
    const { manifests } = createCounted();
    const manifest = manifestOf(1000);
    for (const mediaType of [MEDIA_TYPES.ociManifest, MEDIA_TYPES.dockerManifest]) {
      await manifests.put({ ...manifest, mediaType });
      expect((await manifests.get(manifest.digest))?.mediaType).toBe(mediaType);
    }
  });

  it("are removed when they have rotted, so that they are fetched again", async () => {
    const { store, manifests, disk } = createCounted();
    const manifest = manifestOf(1000);
    await manifests.put(manifest);
    disk.rotten = true;
    expect(await manifests.get(manifest.digest)).toBeUndefined();
    expect(store.stat(manifest.digest)).toBeUndefined();
    disk.rotten = false;
    await manifests.put(manifest);
    expect(await manifests.get(manifest.digest)).toEqual(manifest);
  });
});

describe("the manifests in memory", () => {
  /** A tenth of the limit each. */
  const [a, b, ...others] = Array.from("abcdefghij", (fill) => manifestOf(9488, fill));
  const keptOf = (cache: ReturnType<typeof createManifestCache>, ...list: Manifest[]) =>
    list.filter(({ digest }) => cache.get(digest) !== undefined);

  it("are those that were used last, up to a size", () => {
    const cache = createManifestCache(100_000);
    for (const manifest of [a!, b!, ...others.slice(0, 4)]) cache.set(manifest);
    expect(keptOf(cache, a!)).toEqual([a]);
    for (const manifest of others.slice(4)) cache.set(manifest);
    expect(keptOf(cache, a!, b!)).toEqual([a]);
    expect(keptOf(cache, ...others.slice(4))).toEqual(others.slice(4));
  });

  it("are gone when they are deleted, from wherever they are", () => {
    const cache = createManifestCache(100_000);
    for (const manifest of [a!, b!, ...others.slice(0, 4)]) cache.set(manifest);
    const all = [a!, b!, ...others.slice(0, 4)];
    for (const { digest } of all) cache.delete(digest);
    expect(keptOf(cache, ...all)).toEqual([]);
  });

  it("leave out one that would take the place of many", () => {
    const cache = createManifestCache(70_000);
    cache.set(a!);
    expect(keptOf(cache, a!)).toEqual([]);
  });
});
