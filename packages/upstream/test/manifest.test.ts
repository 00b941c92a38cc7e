import { type Digest, digestOf, MANIFEST_ACCEPT, MEDIA_TYPES, parseTag } from "@shoal/oci";
import {
  type Labels,
  type MetricsRegister,
  noMetrics,
  silentLogger,
  systemClock,
} from "@shoal/runtime";
import { describe, expect, test } from "vitest";
import { createUpstream } from "../src/index.ts";
import { createScriptedRegistry } from "../src/testing.ts";
import { collect, upstreamFor } from "./support.ts";

const TAG = parseTag("v1");

async function setUp() {
  const registry = await createScriptedRegistry();
  const image = registry.addImage("team/app", "v1", [1000]);
  const upstream = upstreamFor([registry]);
  return {
    registry,
    image,
    upstream,
    repository: image.repository,
    async [Symbol.asyncDispose]() {
      await upstream[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

describe("a manifest", () => {
  test("comes by tag and by digest, with its exact bytes", async () => {
    await using t = await setUp();
    for (const name of [TAG, t.image.digest]) {
      const manifest = await t.upstream.manifest(t.repository, name);
      expect(manifest).toMatchObject({
        digest: t.image.digest,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
      });
      expect(Buffer.from(manifest.bytes).equals(t.image.manifest)).toBe(true);
    }
  });

  test("by a sha512 digest is verified by it", async () => {
    await using t = await setUp();
    const digest = digestOf(t.image.manifest, "sha512");
    t.registry.script(() => ({ status: 200, body: t.image.manifest }));
    expect((await t.upstream.manifest(t.repository, digest)).digest).toBe(digest);
  });

  test.each([
    [undefined, MANIFEST_ACCEPT],
    [[], MANIFEST_ACCEPT],
    [["*/*"], MANIFEST_ACCEPT],
    [[MEDIA_TYPES.ociIndex, "*/*"], [MEDIA_TYPES.ociIndex]],
    [
      ["application/x", "application/y"],
      ["application/x", "application/y"],
    ],
  ])("asked for with accept %o is asked of the registry with %o", async (accept, expected) => {
    await using t = await setUp();
    const options = accept === undefined ? {} : { accept };
    await t.upstream.manifest(t.repository, TAG, options);
    await t.upstream.headManifest(t.repository, TAG, options);
    expect(t.registry.requests.map(({ headers }) => headers.accept)).toEqual([
      expected.join(", "),
      expected.join(", "),
    ]);
  });

  test("of other bytes than its digest, asked for or told, is refused", async () => {
    await using t = await setUp();
    const body = '{"schemaVersion":2}';
    t.registry.script(() => ({ body }));
    for (const name of [t.image.digest, TAG])
      await expect(t.upstream.manifest(t.repository, name)).rejects.toMatchObject({
        code: "ERR_DIGEST_MISMATCH",
        details: { digest: t.image.digest },
      });
    for (const told of [undefined, "junk", digestOf(Buffer.from(body), "sha512")]) {
      const headers = told === undefined ? undefined : { "docker-content-digest": told };
      t.registry.script(() => ({
        body,
        ...(headers === undefined ? { omit: ["docker-content-digest"] } : { headers }),
      }));
      const { digest } = await t.upstream.manifest(t.repository, TAG);
      expect(digest).toBe(digestOf(Buffer.from(body)));
    }
  });

  test.each([false, true])("over 4 MiB is refused, without a length: %s", async (chunked) => {
    await using t = await setUp();
    t.registry.script(() => ({ body: Buffer.alloc(4 * 1024 * 1024 + 1, 32), chunked }));
    await expect(t.upstream.manifest(t.repository, TAG)).rejects.toMatchObject({
      code: "ERR_MANIFEST_TOO_LARGE",
    });
  });

  test("that is far too long is not read to its end", async () => {
    await using t = await setUp();
    // More than the kernel keeps of a connection.
    t.registry.script(() => ({ body: Buffer.alloc(64 * 1024 * 1024, 32) }));
    await expect(t.upstream.manifest(t.repository, TAG)).rejects.toMatchObject({
      code: "ERR_MANIFEST_TOO_LARGE",
    });
    await expect.poll(() => t.registry.requests[0]!.closedEarly, { timeout: 10_000 }).toBe(true);
  });

  test("without a content type has the one it names itself", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ status: 200, body: t.image.manifest }));
    expect(await t.upstream.manifest(t.repository, TAG)).toMatchObject({
      mediaType: MEDIA_TYPES.ociManifest,
    });
    t.registry.script(() => ({ status: 200, body: "[]" }));
    expect(await t.upstream.manifest(t.repository, TAG)).toMatchObject({
      mediaType: "application/octet-stream",
    });
  });

  test("that is gzipped is refused", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ headers: { "content-encoding": "gzip" } }));
    await expect(t.upstream.manifest(t.repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_ENCODING",
    });
  });
});

describe("HEAD", () => {
  test("tells what the registry tells", async () => {
    await using t = await setUp();
    expect(await t.upstream.headManifest(t.repository, TAG)).toEqual({
      digest: t.image.digest,
      mediaType: MEDIA_TYPES.ociManifest,
      sizeBytes: t.image.manifest.length,
    });
    expect(await t.upstream.headBlob(t.repository, t.image.config)).toMatchObject({
      digest: t.image.config,
    });
  });

  test("of a blob with a length of 0 tells no length, unless the blob is empty", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ headers: { "content-length": "0" } }));
    expect(await t.upstream.headBlob(t.repository, t.image.config)).toEqual({
      digest: t.image.config,
      mediaType: "application/octet-stream",
    });
    const empty = t.registry.addBlob(new Uint8Array());
    expect(await t.upstream.headBlob(t.repository, empty)).toMatchObject({ sizeBytes: 0 });
  });

  test.each([400, 405, 501])("refused with %s tells nothing", async (status) => {
    await using t = await setUp();
    t.registry.script(() => ({ status }));
    expect(await t.upstream.headManifest(t.repository, TAG)).toEqual({});
    expect(await t.upstream.headBlob(t.repository, t.image.config)).toEqual({});
  });

  test("leaves out what is missing or junk", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ chunked: true, headers: { "docker-content-digest": "junk" } }));
    expect(await t.upstream.headManifest(t.repository, TAG)).toEqual({
      mediaType: MEDIA_TYPES.ociManifest,
    });
  });

  test("of something that is not there says so", async () => {
    await using t = await setUp();
    const digest = `sha256:${"0".repeat(64)}` as Digest;
    await expect(t.upstream.headBlob(t.repository, digest)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
    });
  });
});

describe("documents", () => {
  test("of tags pass through with their query and next page", async () => {
    await using t = await setUp();
    t.registry.script(() => ({
      headers: { link: `<${t.registry.origin}/v2/team/app/tags/list?n=1&last=v1>; rel="next"` },
    }));
    const tags = await t.upstream.tags(t.repository, new URLSearchParams({ n: "1", last: "a/b" }));
    expect(JSON.parse(Buffer.from(tags.bytes).toString())).toEqual({
      name: "team/app",
      tags: ["v1"],
    });
    expect(tags).toMatchObject({
      mediaType: "application/json",
      nextQuery: "n=1&last=v1",
    });
    expect(t.registry.requests[0]!.path).toBe("/v2/team/app/tags/list?n=1&last=a%2Fb");
  });

  test("of referrers pass through, and their absence does", async () => {
    await using t = await setUp();
    const query = new URLSearchParams({ artifactType: "application/x" });
    await expect(t.upstream.referrers(t.repository, t.image.digest, query)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
    });
    t.registry.script(() => ({
      status: 200,
      headers: { "content-type": MEDIA_TYPES.ociIndex, "oci-filters-applied": "artifactType" },
      body: "{}",
    }));
    expect(await t.upstream.referrers(t.repository, t.image.digest, query)).toMatchObject({
      mediaType: MEDIA_TYPES.ociIndex,
      filtersApplied: "artifactType",
    });
  });
});

test("metrics count requests by kind and outcome, and bytes", async () => {
  await using t = await setUp();
  const counted = new Map<string, number>();
  const add =
    (name: string) =>
    (amount: number, labels: Labels = {}) => {
      const key = [name, ...Object.values(labels)].join(" ");
      counted.set(key, (counted.get(key) ?? 0) + amount);
    };
  const register: MetricsRegister = { ...noMetrics, counter: ({ name }) => ({ add: add(name) }) };
  await using upstream = createUpstream(
    { clock: systemClock, logger: silentLogger, metrics: register },
    { userAgent: "shoal/test", registries: { [t.registry.registry]: {} } },
  );
  const blob = await upstream.blob(t.repository, t.image.layers[0]!.digest);
  await collect(blob.body);
  await expect(upstream.manifest(t.repository, parseTag("none"))).rejects.toThrow();
  expect(counted.get("shoal_upstream_requests_total blob ok")).toBe(1);
  expect(counted.get("shoal_upstream_requests_total manifest not_found")).toBe(1);
  expect(counted.get("shoal_upstream_bytes_total")).toBeGreaterThan(1000);
});
