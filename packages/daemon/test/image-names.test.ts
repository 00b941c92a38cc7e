import { digestOf, MEDIA_TYPES, parseReference, parseTag } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { expect, test } from "vitest";
import { createImageNames } from "../src/mirror/image-names.ts";

test("the names of images are written when the mirror is closed, and none after it", async () => {
  const bytes = Buffer.from("{}");
  const named: string[] = [];
  const written = Promise.withResolvers<void>();
  const store = {
    async nameImage({ name }: { readonly name: string }) {
      await written.promise;
      named.push(name);
    },
    on: () => ({ [Symbol.dispose]() {} }),
  };
  const names = createImageNames({ store, logger: silentLogger });
  const resolve = (tag: string): void =>
    names.resolved(parseReference("registry.test/app").repository, parseTag(tag), {
      digest: digestOf(bytes),
      mediaType: MEDIA_TYPES.ociManifest,
      bytes,
      ageMs: 0,
      stale: false,
      from: "upstream",
    });
  resolve("v1");
  let closed = false;
  const closing = names[Symbol.asyncDispose]().then(() => {
    closed = true;
  });
  resolve("v2");
  await new Promise(setImmediate);
  expect(closed).toBe(false);
  written.resolve();
  await closing;
  expect(named).toEqual(["registry.test/app:v1"]);
});
