import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { mkdir, mkdtemp, rename, rm, statfs, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { digestOf } from "@shoal/oci";
import { type Clock, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type FileStore, openFileStore } from "../src/index.ts";

const execute = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const KIB = 1024;

/** Tries again within a tenth of a second what is tried again within 5 s. */
const hasty: Clock = {
  ...systemClock,
  schedule: (delayMs, callback) => systemClock.schedule(delayMs / 50, callback),
};

describe("a store whose disk takes nothing", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-health-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  const openStore = async (directory: string): Promise<FileStore> =>
    await openFileStore({ clock: hasty, logger: silentLogger, metrics: noMetrics }, { directory });

  async function put(store: FileStore, sizeBytes: number): Promise<ReturnType<typeof digestOf>> {
    const bytes = new Uint8Array(randomBytes(sizeBytes));
    const digest = digestOf(bytes);
    await store.put(digest, bytes);
    return digest;
  }

  const stateOf = async (store: FileStore): Promise<unknown> => (await store.usage()).state;

  /** A disk of 8 MiB, unmounted when disposed. */
  async function smallDisk(): Promise<AsyncDisposable & { readonly path: string }> {
    const path = join(folder, "disk");
    await mkdir(path);
    await execute("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", path]);
    return {
      path,
      async [Symbol.asyncDispose]() {
        await execute("umount", [path]);
      },
    };
  }

  async function fill(path: string): Promise<string> {
    const { bavail, bsize } = await statfs(path);
    const filler = join(path, "filler");
    await writeFile(filler, new Uint8Array(bavail * bsize));
    return filler;
  }

  it.skipIf(!isRoot)("says that it is full, and takes blobs again when there is room", async () => {
    await using disk = await smallDisk();
    const directory = join(disk.path, "s");
    let kept: ReturnType<typeof digestOf>;
    {
      await using store = await openStore(directory);
      kept = await put(store, 100 * KIB);
      expect(await stateOf(store)).toBe("ok");
      const filler = await fill(disk.path);
      await expect(put(store, 200 * KIB)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
      expect(await store.usage()).toMatchObject({
        state: "full",
        why: expect.stringContaining("free some disk space") as string,
      });
      // What need not be durable is believed, and what has to be is not promised.
      for (let index = 0; index < 200; index++)
        await store.table("t").put(`k${index}`, "x".repeat(1000));
      expect(await store.table("t").get("k199")).toHaveLength(1000);
      await expect(store.pin("a.lan/a:1", kept)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
      expect(await store.readAll(kept, 200 * KIB)).toHaveLength(100 * KIB);
      await rm(filler);
      await expect.poll(async () => await stateOf(store)).toBe("ok");
      await put(store, 200 * KIB);
      await store.pin("a.lan/a:1", kept);
    }
    await using again = await openStore(directory);
    expect((await again.usage()).blobs).toBe(2);
    expect(await again.table("t").get("k199")).toHaveLength(1000);
    expect(await again.pins()).toMatchObject([{ digest: kept }]);
  });

  it.skipIf(!isRoot)(
    "opens on a full disk, with what is pinned known or nothing removed",
    async () => {
      await using disk = await smallDisk();
      const directory = join(disk.path, "s");
      let kept: ReturnType<typeof digestOf>;
      {
        await using store = await openStore(directory);
        kept = await put(store, 100 * KIB);
        await store.pin("a.lan/a:1", kept);
      }
      const filler = await fill(disk.path);
      await using store = await openStore(directory);
      expect(await store.readAll(kept, 200 * KIB)).toHaveLength(100 * KIB);
      await expect(put(store, 10 * KIB)).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_STORE_/) as string,
      });
      await store.collect({ targetBytes: 0 }).catch(() => undefined);
      expect(store.stat(kept)).toBeDefined();
      await rm(filler);
      await expect.poll(async () => await stateOf(store)).toBe("ok");
      await put(store, 10 * KIB);
      await store.collect({ targetBytes: 0 });
      expect([...store.blobs()]).toMatchObject([{ digest: kept }]);
    },
  );

  it.skipIf(!isRoot)("serves from a read-only disk, and writes when it may", async () => {
    const directory = join(folder, "s");
    let kept: ReturnType<typeof digestOf>;
    {
      await using store = await openStore(directory);
      kept = await put(store, 100 * KIB);
      await store.pin("a.lan/a:1", kept);
    }
    await execute("mount", ["--bind", directory, directory]);
    try {
      await execute("mount", ["-o", "remount,bind,ro", directory]);
      await using store = await openStore(directory);
      expect(await stateOf(store)).toBe("readOnly");
      expect(await store.readAll(kept, 200 * KIB)).toHaveLength(100 * KIB);
      for (const work of [
        async () => await put(store, 10),
        async () =>
          await store.openIngest({ digest: digestOf(Buffer.from("x")), sizeBytes: 600 * KIB }),
        async () => await store.pin("a.lan/b:1", kept),
        async () => await store.collect({ targetBytes: 0 }),
      ])
        await expect(work()).rejects.toMatchObject({ code: "ERR_STORE_READ_ONLY" });
      await store.table("t").put("k", 1);
      await execute("mount", ["-o", "remount,bind,rw", directory]);
      await expect.poll(async () => await stateOf(store)).toBe("ok");
      await put(store, 10);
      await store.collect({ targetBytes: 0 });
      expect([...store.blobs()]).toMatchObject([{ digest: kept }]);
      expect(await store.table("t").get("k")).toBe(1);
    } finally {
      await execute("umount", [directory]);
    }
  });

  it("does not wait for a disk that fails, and comes back with it", async () => {
    const directory = join(folder, "s");
    await using store = await openStore(directory);
    const { open } = fs.promises;
    let opened = 0;
    fs.promises.open = async (path, flags, mode) => {
      if (flags !== "w" || !String(path).startsWith(directory))
        return await open(path, flags, mode);
      opened += 1;
      throw Object.assign(new Error("EIO: i/o error, open"), { code: "EIO" });
    };
    syncBuiltinESMExports();
    try {
      await expect(put(store, 10)).rejects.toMatchObject({ code: "ERR_STORE_IO" });
      const tried = opened;
      await expect(put(store, 10)).rejects.toMatchObject({ code: "ERR_STORE_IO" });
      expect(opened).toBe(tried);
      expect(await stateOf(store)).toBe("failing");
    } finally {
      fs.promises.open = open;
      syncBuiltinESMExports();
    }
    await expect.poll(async () => await stateOf(store)).toBe("ok");
    await put(store, 10);
  });

  it("takes a disk that is gone for no fault of its blobs, and has them again with it", async () => {
    const directory = join(folder, "s");
    await using store = await openStore(directory);
    const kept = [await put(store, 1000), await put(store, 2000)];
    for (const name of ["blobs", "ingests"])
      await rename(join(directory, name), join(folder, `${name}.away`));
    await expect(store.verify()).rejects.toMatchObject({ code: "ERR_STORE_IO" });
    expect(store.scrubPass).toMatchObject({
      finishedMs: expect.any(Number) as number,
      failure: { code: "ERR_STORE_IO" },
    });
    expect(await stateOf(store)).toBe("failing");
    for (const name of ["blobs", "ingests"])
      await rename(join(folder, `${name}.away`), join(directory, name));
    await expect.poll(async () => await stateOf(store)).toBe("ok");
    await expect
      .poll(() => kept.map((digest) => store.stat(digest)?.sizeBytes))
      .toEqual([1000, 2000]);
    expect((await store.verify()).findings).toEqual([]);
  });

  it("is not full since it does not take what is larger than its disk", async () => {
    await using store = await openStore(join(folder, "s"));
    const target = { digest: digestOf(Buffer.from("x")), sizeBytes: 2 ** 52 };
    await expect(store.openIngest(target)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
    expect(await stateOf(store)).toBe("ok");
  });
});
