import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createScriptedRegistry } from "../src/testing.ts";
import { collect, upstreamFor } from "./support.ts";

const SIZE = 300_000;

async function setUp() {
  const registry = await createScriptedRegistry();
  const bytes = randomBytes(SIZE);
  const digest = registry.addBlob(bytes);
  const upstream = upstreamFor([registry], { timeouts: { idleMs: 300, headersMs: 900 } });
  const blobs = () => registry.requests.filter(({ path }) => path.includes("/blobs/"));
  return {
    registry,
    bytes,
    digest,
    upstream,
    repository: registry.repository("team/app"),
    blobs,
    async [Symbol.asyncDispose]() {
      await upstream[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

describe("a blob", () => {
  test("arrives whole, and is asked for uncompressed and without a range", async () => {
    await using t = await setUp();
    const blob = await t.upstream.blob(t.repository, t.digest);
    expect(blob).toMatchObject({ start: 0, sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
    expect(t.blobs()[0]!.headers).toMatchObject({
      "accept-encoding": "identity",
      "user-agent": "shoal/test",
    });
    expect(t.blobs()[0]!.headers.range).toBeUndefined();
  });

  test.each([
    [1000, 2000],
    [0, 1],
    [SIZE - 1, SIZE],
    [250_000, undefined],
    [250_000, SIZE + 10],
  ])("of range %s to %s arrives as asked", async (start, end) => {
    await using t = await setUp();
    const blob = await t.upstream.blob(t.repository, t.digest, {
      start,
      ...(end === undefined ? {} : { end }),
    });
    expect(blob).toMatchObject({ start, sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes.subarray(start, end))).toBe(true);
    expect(t.blobs()[0]!.status).toBe(206);
  });

  test("that broke off while its reader paused loses nothing that had come", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ truncateAfter: 200_000 }));
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
    expect(t.blobs().map(({ headers }) => headers.range)).toEqual([undefined, "bytes=200000-"]);
  });

  test("of an empty range asks for nothing", async () => {
    await using t = await setUp();
    const blob = await t.upstream.blob(t.repository, t.digest, { start: 5, end: 5 });
    expect((await collect(blob.body)).length).toBe(0);
    expect(t.registry.requests).toEqual([]);
  });

  test("of no bytes at all ends at once", async () => {
    await using t = await setUp();
    const digest = t.registry.addBlob(new Uint8Array());
    const blob = await t.upstream.blob(t.repository, digest, { sizeBytes: 0 });
    expect((await collect(blob.body)).length).toBe(0);
  });

  test("comes from byte 0 where the registry has no ranges, up to the range's end", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ noRange: true }));
    const blob = await t.upstream.blob(t.repository, t.digest, { start: 1000, end: 2000 });
    expect(blob).toMatchObject({ start: 0, sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes.subarray(0, 2000))).toBe(true);
  });

  test("with another range than the one asked for is refused", async () => {
    await using t = await setUp();
    for (const contentRange of ["bytes 0-999/300000", "bytes 1000-4999/300000", "junk"]) {
      t.registry.script(() => ({ headers: { "content-range": contentRange } }));
      await expect(
        t.upstream.blob(t.repository, t.digest, { start: 1000, end: 2000 }),
      ).rejects.toMatchObject({ code: "ERR_UPSTREAM_STATUS" });
    }
  });

  test("that breaks off is resumed where it broke", async () => {
    await using t = await setUp();
    t.registry.script(({ headers }) =>
      headers.range === undefined ? { truncateAfter: 100_000 } : undefined,
    );
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
    expect(t.blobs().map(({ headers }) => headers.range)).toEqual([undefined, "bytes=100000-"]);
  });

  test("that breaks off without a length is resumed, too", async () => {
    await using t = await setUp();
    t.registry.script(({ headers }) =>
      headers.range === undefined ? { truncateAfter: 100_000, chunked: true } : { chunked: true },
    );
    const blob = await t.upstream.blob(t.repository, t.digest);
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
  });

  test("that breaks off at a registry without ranges is read over to where it broke", async () => {
    await using t = await setUp();
    t.registry.script(() =>
      t.blobs().length === 1 ? { truncateAfter: 100_000, noRange: true } : { noRange: true },
    );
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
  });

  test("is resumed as often as there is progress", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ truncateAfter: 25_000 }));
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
    expect(t.blobs().length).toBe(SIZE / 25_000);
  });

  test("is given up after five attempts without progress", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ truncateAfter: t.blobs().length === 1 ? 1000 : 0 }));
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    await expect(collect(blob.body)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TRUNCATED",
      details: { position: 1000, endsHere: true },
    });
    expect(t.blobs().length).toBe(6);
  });

  test("whose registry goes away in its midst is given up, and may be longer there", async () => {
    await using t = await setUp();
    t.registry.script(() =>
      t.blobs().length === 1 ? { truncateAfter: 1000 } : { status: 500, body: "" },
    );
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    const error: unknown = await collect(blob.body).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "ERR_UPSTREAM_STATUS", details: { status: 500 } });
  });

  test("that the registry has shorter than its descriptor is truncated", async () => {
    await using t = await setUp();
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE + 5 });
    await expect(collect(blob.body)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TRUNCATED",
      details: { endsHere: true },
    });
  });

  test("that is longer than its descriptor is refused, told so or not", async () => {
    await using t = await setUp();
    await expect(
      t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE - 5 }),
    ).rejects.toMatchObject({ code: "ERR_UPSTREAM_TOO_LONG" });
    t.registry.script(() => ({ chunked: true }));
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE - 5 });
    let gotBytes = 0;
    const read = async (): Promise<void> => {
      for await (const chunk of blob.body) gotBytes += chunk.length;
    };
    await expect(read()).rejects.toMatchObject({ code: "ERR_UPSTREAM_TOO_LONG" });
    expect(gotBytes).toBe(SIZE - 5);
  });

  test("that falls silent is resumed after the idle time", async () => {
    await using t = await setUp();
    t.registry.script(({ headers }) =>
      headers.range === undefined ? { stallAfter: 100_000 } : undefined,
    );
    const blob = await t.upstream.blob(t.repository, t.digest, { sizeBytes: SIZE });
    expect((await collect(blob.body)).equals(t.bytes)).toBe(true);
  });

  test("does not break off while its reader pauses", async () => {
    await using t = await setUp();
    const bytes = randomBytes(8_000_000);
    const digest = t.registry.addBlob(bytes);
    const blob = await t.upstream.blob(t.repository, digest);
    const chunks: Uint8Array[] = [];
    for await (const chunk of blob.body) {
      chunks.push(chunk);
      if (chunks.length === 2) await new Promise((resolve) => setTimeout(resolve, 900));
    }
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
    expect(t.blobs().length).toBe(1);
  });

  test("that is gzipped on the way is refused", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ headers: { "content-encoding": "gzip" } }));
    await expect(t.upstream.blob(t.repository, t.digest)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_ENCODING",
    });
  });

  test("left early closes its connection", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ stallAfter: 100_000 }));
    const blob = await t.upstream.blob(t.repository, t.digest);
    for await (const _chunk of blob.body) break;
    await expect.poll(() => t.blobs()[0]!.closedEarly).toBe(true);
  });

  test("left while a chunk is waited for closes its connection at once", async () => {
    await using t = await setUp();
    t.registry.script(() => ({ stallAfter: 0 }));
    const blob = await t.upstream.blob(t.repository, t.digest);
    const iterator = blob.body[Symbol.asyncIterator]();
    const pending = iterator.next();
    const [left] = await Promise.allSettled([pending, iterator.return?.()]);
    expect(left.status).toBe("rejected");
    await expect.poll(() => t.blobs()[0]!.closedEarly).toBe(true);
  });

  test("never iterated is let go with its signal", async () => {
    await using t = await setUp();
    const controller = new AbortController();
    t.registry.script(() => ({ stallAfter: 10 }));
    const blob = await t.upstream.blob(t.repository, t.digest, { signal: controller.signal });
    const reason = new Error("the caller is gone");
    controller.abort(reason);
    await expect(collect(blob.body)).rejects.toBe(reason);
    await expect.poll(() => t.blobs()[0]!.closedEarly).toBe(true);
  });

  test("that does not exist says so, with what the registry says", async () => {
    await using t = await setUp();
    const missing = t.registry.repository("team/app");
    const digest = `sha256:${"0".repeat(64)}` as typeof t.digest;
    await expect(t.upstream.blob(missing, digest)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_NOT_FOUND",
      message: expect.stringContaining("BLOB_UNKNOWN: not known here") as string,
    });
  });

  test("keeps one connection for one blob after another", async () => {
    await using t = await setUp();
    for (let index = 0; index < 3; index += 1) {
      const blob = await t.upstream.blob(t.repository, t.digest, { start: 10, end: 50_000 });
      await collect(blob.body);
    }
    expect(t.blobs().every(({ closedEarly }) => !closedEarly)).toBe(true);
  });
});
