import { setTimeout as delay } from "node:timers/promises";
import { type Digest, digestOf, parseReference } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import { beforeEach, describe, expect, it } from "vitest";
import { type BrokenImages, createBrokenImages } from "../src/mirror/broken-images.ts";
import { createTestDaemon, type TestDaemon } from "./support.ts";

const digest = (name: string): Digest => digestOf(Buffer.from(name));
const [index, manifest, other, layer, base] = ["index", "manifest", "other", "layer", "base"].map(
  digest,
) as [Digest, Digest, Digest, Digest, Digest];
const { repository } = parseReference("registry.test/app");
const elsewhere = parseReference("registry.test/other").repository;
const gone = new CodedError("ERR_UPSTREAM_NOT_FOUND", "not there");

describe("an image", () => {
  let nowMs = 0;
  let images: BrokenImages;
  /** What a blob that is tried again does. */
  let again: () => Promise<void>;
  let tries = 0;
  beforeEach(async () => {
    nowMs = 0;
    tries = 0;
    again = async () => await Promise.reject(gone);
    const swarm = {
      open: async () => ({
        async finished() {
          tries += 1;
          await again();
        },
        async [Symbol.asyncDispose]() {},
      }),
    };
    images = createBrokenImages({
      swarm: swarm as never,
      sizes: { get: () => 10 },
      clock: { now: () => nowMs },
    });
    await images.ensureWhole(repository, index, [manifest]);
    await images.ensureWhole(repository, manifest, [layer, base]);
  });
  const isBroken = async (
    which: Digest,
    children: readonly Digest[],
    where = repository,
  ): Promise<boolean> =>
    await images.ensureWhole(where, which, children).then(
      () => false,
      (error: unknown) => {
        expect(error).toMatchObject({ code: "ERR_IMAGE_BROKEN" });
        return true;
      },
    );

  const failing = async (blob: Digest, error: Error): Promise<void> => {
    const giving = images.watch(repository, blob, async () => await Promise.reject(error));
    await expect(giving).rejects.toBe(error);
  };

  it("is broken, with its index and whatever has the blob", async () => {
    await failing(base, gone);
    expect(await isBroken(index, [manifest])).toBe(true);
    expect(await isBroken(manifest, [layer, base])).toBe(true);
    expect(await isBroken(other, [base])).toBe(true);
    expect(await isBroken(digest("apart"), [digest("else")])).toBe(false);
    expect(await isBroken(manifest, [layer, base], elsewhere)).toBe(false);
    expect(tries).toBe(0);
  });

  it("is broken as long as its blob fails again, and five minutes are over when nobody asks", async () => {
    await failing(base, gone);
    for (const minutes of [1, 5, 9]) {
      nowMs = minutes * 60_000;
      expect(await isBroken(index, [manifest])).toBe(true);
    }
    expect(tries).toBe(3);
    nowMs += 5 * 60_000;
    expect(await isBroken(index, [manifest])).toBe(false);
    expect(await isBroken(other, [base])).toBe(false);
    expect(tries).toBe(3);
  });

  it("is whole again when its blob is", async () => {
    await failing(base, gone);
    images.succeeded(repository, base);
    expect(await isBroken(index, [manifest])).toBe(false);
    await failing(base, gone);
    nowMs = 3000;
    again = async () => {};
    expect(await isBroken(index, [manifest])).toBe(false);
    expect(await isBroken(manifest, [layer, base])).toBe(false);
    expect(tries).toBe(1);
  });

  it.each([
    ["ERR_DIGEST_MISMATCH", { registry: "registry.test" }, true],
    ["ERR_DIGEST_MISMATCH", {}, false],
    ["ERR_UPSTREAM_TRUNCATED", { endsHere: true }, true],
    ["ERR_UPSTREAM_TRUNCATED", { endsHere: false }, false],
    ["ERR_UPSTREAM_UNREACHABLE", {}, false],
    ["ERR_UPSTREAM_RATE_LIMITED", {}, false],
    ["ERR_UPSTREAM_NOT_A_REGISTRY", {}, true],
  ] as const)("of which a blob fails with %s %j is broken: %s", async (code, details, expected) => {
    await failing(layer, new CodedError(code, "it fails", { details }));
    expect(await isBroken(index, [manifest])).toBe(expected);
  });
});

describe("the mirror", () => {
  it("refuses the manifest of an image of which it could not get a blob, until it can", async () => {
    await using daemon: TestDaemon = await createTestDaemon();
    const { layers } = daemon.registry.addImage("app", "v1", [300_000]);
    const blobUrl = daemon.url(`app/blobs/${layers[0]!.digest}`);
    const manifestUrl = daemon.url("app/manifests/v1");
    const statusOf = async (url: string): Promise<number> => {
      const response = await fetch(url);
      await response.arrayBuffer();
      return response.status;
    };
    daemon.registry.script(({ path }) =>
      path.includes("/blobs/") ? { headers: { "content-type": "text/html" }, body: "" } : undefined,
    );
    expect([await statusOf(manifestUrl), await statusOf(blobUrl)]).toEqual([200, 503]);
    const refused = await fetch(manifestUrl);
    expect(refused.status).toBe(503);
    expect(await refused.text()).toContain("ERR_IMAGE_BROKEN");
    await delay(2000);
    expect(await statusOf(manifestUrl)).toBe(503);
    await delay(2000);
    daemon.registry.script(() => undefined);
    expect([await statusOf(manifestUrl), await statusOf(blobUrl)]).toEqual([200, 200]);
  });
});
