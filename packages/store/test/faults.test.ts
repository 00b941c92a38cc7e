import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rm,
  statfs,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { digestHex, digestOf } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type Ingest,
  openFileStore,
  type PieceIndex,
  pieceOffset,
  type Store,
} from "../src/index.ts";

const execute = promisify(execFile);
const PIECE = 256 * 1024;
const isRoot = process.getuid?.() === 0;

describe("the store on a disk that fails", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-faults-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  const openStore = async (directory = join(folder, "s")): Promise<Store> =>
    await openFileStore(
      { clock: systemClock, logger: silentLogger, metrics: noMetrics },
      { directory },
    );

  function blob(pieces: number) {
    const bytes = new Uint8Array(randomBytes(pieces * PIECE));
    return { bytes, info: { digest: digestOf(bytes), sizeBytes: bytes.length } };
  }

  async function write(ingest: Ingest, bytes: Uint8Array, piece: number): Promise<void> {
    const start = pieceOffset(ingest.geometry, piece as PieceIndex);
    await ingest.write(
      piece as PieceIndex,
      bytes.subarray(start, start + ingest.geometry.pieceSizeBytes),
    );
  }

  it.skipIf(!isRoot)(
    "never takes the part of a piece that still fitted for all of it",
    async () => {
      const mount = join(folder, "m");
      await mkdir(mount);
      await execute("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", mount]);
      try {
        const directory = join(mount, "s");
        await using store = await openStore(directory);
        const { bytes, info } = blob(4);
        await using ingest = await store.openIngest(info);
        await write(ingest, bytes, 0);
        const { bavail, bsize } = await statfs(mount);
        const filler = join(mount, "filler");
        await writeFile(filler, new Uint8Array(bavail * bsize - 100 * 1024));
        await expect(write(ingest, bytes, 1)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
        expect([...ingest.have]).toEqual([0]);
        await rm(filler);
        for (const piece of [1, 2, 3]) await write(ingest, bytes, piece);
        await ingest.commit();
        const file = await readFile(join(directory, "blobs/sha256", digestHex(info.digest)));
        expect(digestOf(file)).toBe(info.digest);
      } finally {
        await execute("umount", [mount]);
      }
    },
  );

  it("gives up for good what a failed sync may have lost", async () => {
    await using store = await openStore();
    const bytes = new Uint8Array(randomBytes(40 * 1024 * 1024));
    const info = { digest: digestOf(bytes), sizeBytes: bytes.length };
    const ingest = await store.openIngest(info);
    await using _healed = await failSyncOnce(folder);
    const outcome = (async () => {
      for (let piece = 0; piece < ingest.geometry.pieceCount; piece++)
        await write(ingest, bytes, piece);
      await ingest.commit();
    })();
    await expect(outcome).rejects.toMatchObject({ code: "ERR_STORE_IO" });
    await ingest[Symbol.asyncDispose]();
    expect(store.stat(info.digest)).toBeUndefined();
    await using again = await store.openIngest(info);
    expect(again.have.count).toBe(0);
  });

  it("begins anew where a journal has lost its data", async () => {
    await using store = await openStore();
    const { bytes, info } = blob(2);
    {
      await using ingest = await store.openIngest(info);
      await write(ingest, bytes, 0);
    }
    await rm(join(folder, "s/ingests", `sha256-${digestHex(info.digest)}.data`));
    await using ingest = await store.openIngest(info);
    expect(ingest.have.count).toBe(0);
    for (const piece of [0, 1]) await write(ingest, bytes, piece);
    await ingest.commit();
  });

  it("takes no more and gives nothing up while it commits", async () => {
    await using store = await openStore();
    const { bytes, info } = blob(4);
    await using ingest = await store.openIngest(info);
    for (const piece of [1, 2, 3, 0]) await write(ingest, bytes, piece);
    const committed = ingest.commit();
    await expect(ingest.drop([3 as PieceIndex])).rejects.toMatchObject({
      code: "ERR_INGEST_CLOSED",
    });
    await committed;
    expect(store.stat(info.digest)).toEqual(info);
  });

  it("forgets a blob whose file is gone, and takes it again", async () => {
    await using store = await openStore();
    const bytes = new Uint8Array(randomBytes(100));
    const digest = digestOf(bytes);
    await store.put(digest, bytes);
    await rm(join(folder, "s/blobs/sha256", digestHex(digest)));
    expect(await store.readAll(digest, 1000)).toBeUndefined();
    await store.put(digest, bytes);
    expect(await store.readAll(digest, 1000)).toEqual(bytes);
  });

  it("refuses a size beyond any disk before it does anything with it", async () => {
    await using store = await openStore();
    const info = { digest: digestOf(Buffer.from("x")), sizeBytes: Number.MAX_SAFE_INTEGER };
    await expect(store.openIngest(info)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
  });

  it("promises no room twice to two that begin at once", async () => {
    await using store = await openStore();
    const { freeBytes } = await store.usage();
    const sizeBytes = Math.floor(freeBytes * 0.7);
    const begun = await Promise.allSettled(
      ["a", "b"].map(
        async (text) => await store.openIngest({ digest: digestOf(Buffer.from(text)), sizeBytes }),
      ),
    );
    expect(begun.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    for (const one of begun) if (one.status === "fulfilled") await one.value.discard();
  });
});

/** The next `datasync` of any file fails as a dying disk's does. */
async function failSyncOnce(folder: string): Promise<AsyncDisposable> {
  const file = await open(join(folder, "any"), "w");
  const handles = Object.getPrototypeOf(file) as Pick<FileHandle, "datasync">;
  await file.close();
  const { datasync } = handles;
  let failed = false;
  handles.datasync = async function (this: FileHandle) {
    if (failed) return await datasync.call(this);
    failed = true;
    throw Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" });
  };
  return {
    async [Symbol.asyncDispose]() {
      handles.datasync = datasync;
    },
  };
}
