import { digestOf, MEDIA_TYPES } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { expect, test } from "vitest";
import { createSizes } from "../src/mirror/sizes.ts";

const digestAt = (index: number) => digestOf(Buffer.from(`blob ${index}`));

function manifestOf(from: number, count: number) {
  const blobs = Array.from({ length: count }, (_, index) => ({
    mediaType: "application/octet-stream",
    digest: digestAt(from + index),
    size: from + index,
  }));
  const mediaType = MEDIA_TYPES.ociManifest;
  const bytes = Buffer.from(
    JSON.stringify({ mediaType, config: blobs[0], layers: blobs.slice(1) }),
  );
  return { digest: digestOf(bytes), mediaType, bytes };
}

test("sizes are those of the manifests that were asked for last", () => {
  const sizes = createSizes(silentLogger);
  const first = manifestOf(1, 9000);
  sizes.learn(first);
  sizes.learn(manifestOf(10_001, 9000));
  sizes.learn(first);
  sizes.learn(manifestOf(20_001, 9000));
  expect([1, 9000, 10_001, 20_001].map((index) => sizes.get(digestAt(index)))).toEqual([
    1,
    9000,
    undefined,
    20_001,
  ]);
});

test("a manifest that can't be read says nothing", () => {
  const sizes = createSizes(silentLogger);
  const bytes = Buffer.from("<html>");
  sizes.learn({ digest: digestOf(bytes), mediaType: MEDIA_TYPES.ociManifest, bytes });
  expect(sizes.get(digestOf(bytes))).toBeUndefined();
});
