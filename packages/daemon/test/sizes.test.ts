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

test("sizes are those that manifests named last, or again", () => {
  const sizes = createSizes(silentLogger);
  const first = manifestOf(1, 9000);
  const sizesAt = (...all: number[]) => all.map((index) => sizes.get(digestAt(index)));
  for (const from of [1, 10_001, 20_001]) sizes.learn(manifestOf(from, 9000));
  expect(sizesAt(1, 10_001, 20_001)).toEqual([undefined, 10_001, 20_001]);
  sizes.learn(first);
  sizes.learn(first);
  expect(sizesAt(1, 9000, 10_001, 20_001)).toEqual([1, 9000, undefined, 20_001]);
});

test("a manifest that can't be read says nothing", () => {
  const sizes = createSizes(silentLogger);
  const bytes = Buffer.from("<html>");
  sizes.learn({ digest: digestOf(bytes), mediaType: MEDIA_TYPES.ociManifest, bytes });
  expect(sizes.get(digestOf(bytes))).toBeUndefined();
});
