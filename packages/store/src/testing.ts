/**
 * What every store promises, as one suite that each version runs.
 *
 * @packageDocumentation
 */
import { createHash, randomBytes } from "node:crypto";
import { digestOf } from "@shoal/oci";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PieceIndex, pieceGeometry, pieceLength, pieceOffset, pieces } from "./geometry.ts";
import type { BlobInfo, Ingest, Store } from "./types.ts";

const KIB = 1024;
const PIECE = 256 * KIB;

function randomBlob(sizeBytes: number): { bytes: Uint8Array; info: BlobInfo } {
  const bytes = new Uint8Array(randomBytes(sizeBytes));
  return { bytes, info: { digest: digestOf(bytes), sizeBytes } };
}

function pieceOf(bytes: Uint8Array, piece: PieceIndex): Uint8Array {
  const geometry = pieceGeometry(bytes.length);
  const start = pieceOffset(geometry, piece);
  return bytes.slice(start, start + pieceLength(geometry, piece));
}

async function writeAll(ingest: Ingest, bytes: Uint8Array): Promise<void> {
  for (const piece of pieces(ingest.geometry)) await ingest.write(piece, pieceOf(bytes, piece));
}

async function readBlob(store: Store, { digest }: BlobInfo): Promise<Uint8Array> {
  await using handle = (await store.open(digest))!;
  const chunks: Uint8Array[] = [];
  for await (const chunk of handle.stream()) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** @param createStore makes an empty store that the suite disposes */
export function storeConformance(name: string, createStore: () => Promise<Store>): void {
  describe(`${name} keeps a store's promises`, () => {
    it("shows a blob when it is verified, and not before", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(3 * PIECE + 100);
      const committed: BlobInfo[] = [];
      store.on("committed", (blob) => committed.push(blob));
      await using ingest = await store.openIngest(info);
      await writeAll(ingest, bytes);
      expect(store.stat(info.digest)).toBeUndefined();
      expect(await store.open(info.digest)).toBeUndefined();
      expect(await ingest.commit()).toEqual(info);
      expect(store.stat(info.digest)).toEqual(info);
      expect([...store.blobs()]).toEqual([info]);
      expect(committed).toEqual([info]);
      expect(same(await readBlob(store, info), bytes)).toBe(true);
    });

    it("gives its readers bytes that they may change", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(PIECE + 100);
      await store.put(info.digest, bytes);
      {
        await using handle = (await store.open(info.digest))!;
        for await (const chunk of handle.stream()) chunk.fill(0);
        (await handle.read(0, PIECE)).fill(0);
      }
      expect(same(await readBlob(store, info), bytes)).toBe(true);
    });

    it("reads what has arrived while the rest is missing", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(4 * PIECE);
      await using ingest = await store.openIngest(info);
      await ingest.write(1 as PieceIndex, pieceOf(bytes, 1 as PieceIndex));
      await ingest.write(2 as PieceIndex, pieceOf(bytes, 2 as PieceIndex));
      const got = await ingest.read(PIECE + 10, PIECE + 20);
      expect(same(got, bytes.subarray(PIECE + 10, 2 * PIECE + 30))).toBe(true);
      await expect(ingest.read(PIECE - 1, 10)).rejects.toMatchObject({ code: "ERR_PIECE_MISSING" });
      await expect(ingest.read(-1, 10)).rejects.toMatchObject({ code: "ERR_RANGE" });
      await expect(ingest.commit()).rejects.toMatchObject({ code: "ERR_PIECE_MISSING" });
    });

    it("goes on with an ingest that was closed", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(3 * PIECE);
      {
        await using ingest = await store.openIngest(info);
        await ingest.write(2 as PieceIndex, pieceOf(bytes, 2 as PieceIndex));
        await expect(store.openIngest(info)).rejects.toMatchObject({ code: "ERR_INGEST_OPEN" });
      }
      await using ingest = await store.openIngest(info);
      expect([...ingest.have]).toEqual([2]);
      await writeAll(ingest, bytes);
      await ingest.commit();
      await expect(store.openIngest(info)).rejects.toMatchObject({ code: "ERR_BLOB_EXISTS" });
    });

    it("keeps a blob with a wrong byte out, and takes it when the piece is replaced", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(3 * PIECE);
      await using ingest = await store.openIngest(info);
      await writeAll(ingest, bytes);
      await ingest.drop([1 as PieceIndex]);
      const wrong = pieceOf(bytes, 1 as PieceIndex);
      wrong[5]! ^= 1;
      await ingest.write(1 as PieceIndex, wrong);
      await expect(ingest.commit()).rejects.toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
      expect(store.stat(info.digest)).toBeUndefined();
      await ingest.drop([1 as PieceIndex]);
      expect([...ingest.have]).toEqual([0, 2]);
      expect(ingest.pieceHash(1 as PieceIndex)).toBeUndefined();
      await ingest.write(1 as PieceIndex, pieceOf(bytes, 1 as PieceIndex));
      await ingest.commit();
      expect(same(await readBlob(store, info), bytes)).toBe(true);
    });

    it("hashes what is there at the commit, not what was given up while it was read back", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(4 * PIECE);
      await using ingest = await store.openIngest(info);
      for (const piece of [1, 2, 3, 0] as PieceIndex[])
        await ingest.write(piece, pieceOf(bytes, piece));
      await ingest.drop([1 as PieceIndex]);
      const wrong = pieceOf(bytes, 1 as PieceIndex);
      wrong[5]! ^= 1;
      await ingest.write(1 as PieceIndex, wrong);
      await expect(ingest.commit()).rejects.toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
    });

    it("refuses pieces of the wrong length, and leaves those that are there alone", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(2 * PIECE);
      await using ingest = await store.openIngest(info);
      const short = ingest.write(0 as PieceIndex, new Uint8Array(5));
      await expect(short).rejects.toMatchObject({ code: "ERR_PIECE_LENGTH" });
      await ingest.write(0 as PieceIndex, pieceOf(bytes, 0 as PieceIndex));
      await ingest.write(0 as PieceIndex, new Uint8Array(PIECE));
      expect(same(await ingest.read(0, PIECE), bytes.subarray(0, PIECE))).toBe(true);
    });

    it("refuses a piece whose bytes are not those of the sha256 that was promised", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(2 * PIECE);
      await using ingest = await store.openIngest(info);
      const first = pieceOf(bytes, 0 as PieceIndex);
      const promised = createHash("sha256").update(first).digest();
      const wrong = ingest.write(0 as PieceIndex, new Uint8Array(PIECE), { sha256: promised });
      await expect(wrong).rejects.toMatchObject({ code: "ERR_PIECE_MISMATCH" });
      expect(ingest.have.count).toBe(0);
      await ingest.write(0 as PieceIndex, first, { sha256: promised });
      expect(same(ingest.pieceHash(0 as PieceIndex)!, promised)).toBe(true);
    });

    it("knows the hash of each piece of a blob, however the blob came", async () => {
      await using store = await createStore();
      for (const whole of [false, true]) {
        const { bytes, info } = randomBlob(2 * PIECE + 5);
        if (whole) await store.put(info.digest, bytes);
        else {
          await using ingest = await store.openIngest(info);
          await writeAll(ingest, bytes);
          await ingest.commit();
        }
        await using handle = (await store.open(info.digest))!;
        for (const piece of [0, 2] as PieceIndex[]) {
          const hash = createHash("sha256").update(pieceOf(bytes, piece)).digest();
          expect(same((await handle.pieceHash(piece))!, hash)).toBe(true);
          expect(await handle.intact(piece)).toBe(true);
        }
      }
    });

    it("puts small blobs at once, of both digests, and reads them whole", async () => {
      await using store = await createStore();
      const bytes = new Uint8Array(Buffer.from("manifest"));
      for (const algorithm of ["sha256", "sha512"] as const) {
        const digest = digestOf(bytes, algorithm);
        await store.put(digest, bytes);
        expect(await store.readAll(digest, 100)).toEqual(bytes);
        await expect(store.readAll(digest, 3)).rejects.toMatchObject({
          code: "ERR_BLOB_TOO_LARGE",
        });
      }
      const other = digestOf(Buffer.from("other"));
      await expect(store.put(other, bytes)).rejects.toMatchObject({ code: "ERR_DIGEST_MISMATCH" });
      expect(await store.readAll(other, 100)).toBeUndefined();
      const empty = digestOf(new Uint8Array());
      await store.put(empty, new Uint8Array());
      expect(store.stat(empty)?.sizeBytes).toBe(0);
    });

    it("keeps a removed blob readable for whoever has it open", async () => {
      await using store = await createStore();
      const { bytes, info } = randomBlob(1000);
      await store.put(info.digest, bytes);
      await using handle = (await store.open(info.digest))!;
      const removed: BlobInfo[] = [];
      store.on("removed", (blob) => removed.push(blob));
      expect(await store.remove(info.digest)).toBe(true);
      expect(await store.remove(info.digest)).toBe(false);
      expect(store.stat(info.digest)).toBeUndefined();
      expect(removed).toEqual([info]);
      expect(same(await handle.read(0, 1000), bytes)).toBe(true);
      await expect(handle.read(990, 20)).rejects.toMatchObject({ code: "ERR_RANGE" });
    });

    it("keeps records by key, in order, a table by itself", async () => {
      await using store = await createStore();
      const table = store.table<{ n: number }>("one");
      await table.put("b", { n: 2 });
      await table.put("a", { n: 1 }, { durable: true });
      await table.put("c", { n: 3 });
      await table.delete("c");
      expect(await table.get("a")).toEqual({ n: 1 });
      expect(await table.get("c")).toBeUndefined();
      const keys: string[] = [];
      for await (const [key] of table.entries()) keys.push(key);
      expect(keys).toEqual(["a", "b"]);
      expect(await store.table("two").get("a")).toBeUndefined();
    });

    it("lists images by name, the last one of a name", async () => {
      await using store = await createStore();
      const { info } = randomBlob(10);
      const mediaType = "application/vnd.oci.image.manifest.v1+json";
      const descriptor = { mediaType, digest: info.digest, size: 10 };
      await store.nameImage({ name: "docker.io/library/a:1", descriptor });
      await store.nameImage({
        name: "docker.io/library/a:1",
        descriptor: { ...descriptor, size: 11 },
      });
      expect(await store.images()).toEqual([
        { name: "docker.io/library/a:1", descriptor: { ...descriptor, size: 11 } },
      ]);
    });

    it("holds what was written, whatever the order of writes, drops and reopenings", async () => {
      const count = 6;
      const step = fc.oneof(
        fc.record({ write: fc.nat(count - 1) }),
        fc.record({ drop: fc.nat(count - 1) }),
        fc.constant({ reopen: true }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
          await using store = await createStore();
          const { bytes, info } = randomBlob((count - 1) * PIECE + 777);
          let ingest = await store.openIngest(info);
          const model = new Set<number>();
          for (const one of steps) {
            if ("write" in one) {
              await ingest.write(one.write as PieceIndex, pieceOf(bytes, one.write as PieceIndex));
              model.add(one.write);
            } else if ("drop" in one) {
              await ingest.drop([one.drop as PieceIndex]);
              model.delete(one.drop);
            } else {
              await ingest[Symbol.asyncDispose]();
              ingest = await store.openIngest(info);
            }
            expect([...ingest.have]).toEqual([...model].sort((a, b) => a - b));
          }
          await writeAll(ingest, bytes);
          await ingest.commit();
          expect(same(await readBlob(store, info), bytes)).toBe(true);
        }),
        { numRuns: 15 },
      );
    });
  });
}
