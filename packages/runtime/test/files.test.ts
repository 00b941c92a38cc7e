import fs from "node:fs";
import {
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CodedError, makeFolder, removeFile, replaceFile } from "../src/index.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "shoal-replace-"));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

describe("a file that is replaced", () => {
  it("has the new bytes and the mode that was asked for, and nothing beside it", async () => {
    const path = join(folder, "file");
    await writeFile(path, "old", { mode: 0o644 });
    await replaceFile(path, "new", { mode: 0o600 });
    expect(await readFile(path, "utf8")).toBe("new");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(["file"]);
  });

  it("takes over nothing of what a killed process has left beside it", async () => {
    const path = join(folder, "file");
    await writeFile(`${path}.tmp`, "half of something longer", { mode: 0o666 });
    await replaceFile(path, "new", { mode: 0o600 });
    expect(await readFile(path, "utf8")).toBe("new");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("stays as it is when it can't be put in its place", async () => {
    const path = join(folder, "folder");
    await mkdir(path);
    await expect(replaceFile(path, "new", { mode: 0o600 })).rejects.toMatchObject({
      code: "EISDIR",
    });
    expect(await readdir(folder)).toEqual(["folder"]);
  });

  it("stays as it is when what comes before fails", async () => {
    const path = join(folder, "file");
    await writeFile(path, "old");
    const failure = new CodedError("ERR_TEST", "no");
    const before = async (): Promise<void> => {
      expect(await readFile(`${path}.tmp`, "utf8")).toBe("new");
      throw failure;
    };
    await expect(replaceFile(path, "new", { before })).rejects.toBe(failure);
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(folder)).toEqual(["file"]);
  });

  it("is on the disk before it is in its place, and its place is before that is told", async () => {
    const path = join(folder, "file");
    using order = await recordOrder(folder);
    await replaceFile(path, "new", { mode: 0o600 });
    expect(order.calls).toEqual(["sync file.tmp", "rename file.tmp", `sync ${basename(folder)}`]);
  });
});

it("a file that is removed stays so, and need not be there", async () => {
  const path = join(folder, "file");
  await writeFile(path, "old");
  using order = await recordOrder(folder);
  await removeFile(path);
  expect(await readdir(folder)).toEqual([]);
  expect(order.calls).toEqual([`sync ${basename(folder)}`]);
  await removeFile(path);
  await removeFile(join(folder, "none/file"));
});

it("folders that are made outlive a power cut, from the first that was missing on", async () => {
  using order = await recordOrder(folder);
  await makeFolder(join(folder, "a/b"), 0o700);
  expect((await stat(join(folder, "a/b"))).mode & 0o777).toBe(0o700);
  expect(order.calls).toEqual(["sync a", `sync ${basename(folder)}`]);
  await makeFolder(join(folder, "a/b"), 0o700);
  expect(order.calls).toHaveLength(2);
});

/** Records which files are synced and renamed, in their order. */
async function recordOrder(any: string): Promise<Disposable & { readonly calls: string[] }> {
  const calls: string[] = [];
  const names = new WeakMap<FileHandle, string>();
  const handle = await open(any, "r");
  const handles = Object.getPrototypeOf(handle) as { sync(this: FileHandle): Promise<void> };
  await handle.close();
  const { sync } = handles;
  const { open: openReal, rename } = fs.promises;
  handles.sync = async function () {
    await sync.call(this);
    calls.push(`sync ${names.get(this)}`);
  };
  fs.promises.open = async (...args) => {
    const file = await openReal(...args);
    names.set(file, basename(String(args[0])));
    return file;
  };
  fs.promises.rename = async (from, to) => {
    await rename(from, to);
    calls.push(`rename ${basename(String(from))}`);
  };
  syncBuiltinESMExports();
  return {
    calls,
    [Symbol.dispose]() {
      handles.sync = sync;
      Object.assign(fs.promises, { open: openReal, rename });
      syncBuiltinESMExports();
    },
  };
}
