import { mkdtemp, readdir, readFile, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestHex, digestOf } from "@shoal/oci";
import { Level } from "level";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pieces, pieceLength, pieceOffset } from "../src/index.ts";
import { fillSample, openSample, SAMPLE, unpack } from "./sample-store.ts";

const FIXTURES = new URL("fixtures/", import.meta.url);
const versions = (await readdir(FIXTURES)).flatMap(
  (name) => /^store-(.+)\.json$/.exec(name)?.[1] ?? [],
);

describe("a store", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-version-"));
  });
  afterEach(async () => await rm(folder, { recursive: true }));

  async function expectSample(): Promise<void> {
    await using store = await openSample(folder);
    const { blobs, image, pin, arriving, row } = SAMPLE;
    for (const bytes of blobs)
      expect(Buffer.from((await store.readAll(digestOf(bytes), 10_000))!)).toEqual(bytes);
    expect(await store.images()).toEqual([image]);
    expect(await store.pins()).toMatchObject([{ name: pin, digest: image.descriptor.digest }]);
    expect(await store.table(row.table).get(row.key)).toEqual(row.value);
    const { digest, bytes, piece } = arriving;
    await using ingest = await store.openIngest({ digest, sizeBytes: bytes.length });
    const all = [...pieces(ingest.geometry)];
    expect(all.filter((each) => ingest.have.has(each))).toEqual([piece]);
    for (const each of all) {
      const start = pieceOffset(ingest.geometry, each);
      await ingest.write(each, bytes.subarray(start, start + pieceLength(ingest.geometry, each)));
    }
    expect(await ingest.commit()).toMatchObject({ digest });
  }

  it.each(versions)(
    "of version %s is gone on with: blobs, pins, names, records, what was arriving",
    async (version) => {
      const text = await readFile(new URL(`store-${version}.json`, FIXTURES), "utf8");
      await unpack(JSON.parse(text) as Record<string, string>, folder);
      // Files are as old as their folder was copied; what is arriving is dropped when it is a day old.
      const hex = digestHex(SAMPLE.arriving.digest);
      for (const kind of ["data", "journal"])
        await utimes(join(folder, `ingests/sha256-${hex}.${kind}`), new Date(), new Date());
      await expectSample();
    },
  );

  it("of a newer version is refused, says what to do, and loses nothing by it", async () => {
    {
      await using store = await openSample(folder);
      await fillSample(store);
    }
    async function setSchema(version: number): Promise<number | undefined> {
      const database = new Level(join(folder, "index"));
      const meta = database.sublevel<string, number>("meta", { valueEncoding: "json" });
      const before = await meta.get("schema");
      await meta.put("schema", version);
      await database.close();
      return before;
    }
    const current = await setSchema(99);
    for (let i = 0; i < 2; i++)
      await expect(openSample(folder)).rejects.toMatchObject({
        code: "ERR_STORE_SCHEMA",
        message: expect.stringMatching(/newer Shoal \(schema 99.*run that version, or set state/),
      });
    expect(await setSchema(current!)).toBe(99);
    await expectSample();
  });
});
