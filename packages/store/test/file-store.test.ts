import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { digestHex, digestOf } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type FileStore,
  openFileStore,
  type PieceIndex,
  pieceLength,
  pieceOffset,
} from "../src/index.ts";

const execute = promisify(execFile);
const PIECE = 256 * 1024;
const NODE = new URL("../../../node_modules/.bin/node", import.meta.url).pathname;
const WRITER = new URL("writer.ts", import.meta.url).pathname;
const isRoot = process.getuid?.() === 0;

describe("the store on disk", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-store-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  const open = async (directory = join(folder, "s"), minFreeBytes = 0): Promise<FileStore> =>
    await openFileStore(
      { clock: systemClock, logger: silentLogger, metrics: noMetrics },
      { directory, minFreeBytes },
    );

  it("is an OCI image layout that a restart finds again", async () => {
    const bytes = new Uint8Array(randomBytes(1000));
    const digest = digestOf(bytes);
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    {
      await using store = await open();
      await store.put(digest, bytes);
      await store.table("t").put("k", 1);
      const descriptor = { mediaType, digest, size: 1000 };
      await store.nameImage({ name: "docker.io/library/alpine:3", descriptor });
    }
    const directory = join(folder, "s");
    expect(JSON.parse(await readFile(join(directory, "oci-layout"), "utf8"))).toEqual({
      imageLayoutVersion: "1.0.0",
    });
    const index = JSON.parse(await readFile(join(directory, "index.json"), "utf8")) as {
      manifests: { annotations: Record<string, string> }[];
    };
    expect(index.manifests[0]!.annotations["org.opencontainers.image.ref.name"]).toBe("3");
    const file = await readFile(join(directory, "blobs/sha256", digestHex(digest)));
    expect(digestOf(file)).toBe(digest);
    await using again = await open();
    expect(again.stat(digest)?.sizeBytes).toBe(1000);
    expect(await again.table("t").get("k")).toBe(1);
    expect(await again.images()).toHaveLength(1);
  });

  it("loses no acknowledged piece to kill -9, and believes no wrong one", {
    timeout: 60_000,
  }, async () => {
    const bytes = new Uint8Array(randomBytes(24 * PIECE + 99));
    const digest = digestOf(bytes);
    const file = join(folder, "blob");
    await writeFile(file, bytes);
    let acknowledged = 0;
    for (let round = 0; round < 4; round++) {
      const child = spawn(NODE, [WRITER, join(folder, "s"), file, digest, "until-killed"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      acknowledged += await killAfter(child, 3 + round);
      await using store = await open();
      await using ingest = await store.openIngest({ digest, sizeBytes: bytes.length });
      expect(ingest.have.count).toBeGreaterThanOrEqual(acknowledged);
      for (const piece of ingest.have) {
        const start = pieceOffset(ingest.geometry, piece);
        const length = pieceLength(ingest.geometry, piece);
        expect(
          Buffer.compare(await ingest.read(start, length), bytes.subarray(start, start + length)),
        ).toBe(0);
      }
      acknowledged = ingest.have.count;
    }
    const child = spawn(NODE, [WRITER, join(folder, "s"), file, digest, "to-the-end"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await killAfter(child, Number.POSITIVE_INFINITY);
    await using store = await open();
    expect(store.stat(digest)?.sizeBytes).toBe(bytes.length);
  });

  it("fetches again what rotted while an ingest was closed", async () => {
    const bytes = new Uint8Array(randomBytes(3 * PIECE));
    const target = { digest: digestOf(bytes), sizeBytes: bytes.length };
    await using store = await open();
    {
      await using ingest = await store.openIngest(target);
      for (const piece of [0, 1] as PieceIndex[])
        await ingest.write(piece, bytes.slice(piece * PIECE, (piece + 1) * PIECE));
    }
    const data = join(folder, "s/ingests", `sha256-${digestHex(target.digest)}.data`);
    const rotten = await readFile(data);
    rotten[PIECE + 3]! ^= 0x10;
    await writeFile(data, rotten);
    await using ingest = await store.openIngest(target);
    expect([...ingest.have]).toEqual([0]);
  });

  it("forgets an ingest that nobody went on with for a day", async () => {
    const bytes = new Uint8Array(randomBytes(PIECE));
    const target = { digest: digestOf(bytes), sizeBytes: bytes.length };
    {
      await using store = await open();
      await using ingest = await store.openIngest(target);
      await ingest.write(0 as PieceIndex, bytes);
    }
    const ingests = join(folder, "s/ingests");
    for (const name of await readdir(ingests)) {
      const before = new Date(Date.now() - 25 * 3600 * 1000);
      await utimes(join(ingests, name), before, before);
    }
    await using _store = await open();
    expect(await readdir(ingests)).toEqual([]);
  });

  it("is opened by one daemon at a time", async () => {
    await using _first = await open();
    await expect(open()).rejects.toMatchObject({
      code: "ERR_STORE_LOCKED",
      message: expect.stringMatching(/^another daemon( \(process [0-9]+\))? uses the store at /),
    });
  });

  it("repairs a damaged index, and keeps pins and blobs", async () => {
    const bytes = new Uint8Array(randomBytes(100));
    {
      await using store = await open();
      await store.put(digestOf(bytes), bytes);
      await store.pin("a.lan/a:1", digestOf(bytes));
    }
    for (const name of await readdir(join(folder, "s/index")))
      if (/^(CURRENT|MANIFEST)/.test(name))
        await writeFile(join(folder, "s/index", name), "garbage\n");
    await using store = await open();
    expect(store.stat(digestOf(bytes))?.sizeBytes).toBe(100);
    expect(await store.pins()).toMatchObject([{ name: "a.lan/a:1" }]);
    await store.table("t").put("k", 1);
  });

  it("refuses an index of a newer version", async () => {
    {
      await using store = await open();
      await store.table<number>("x").put("y", 1);
    }
    const { Level } = await import("level");
    const database = new Level(join(folder, "s/index"));
    await database.sublevel<string, number>("meta", { valueEncoding: "json" }).put("schema", 99);
    await database.close();
    await expect(open()).rejects.toMatchObject({ code: "ERR_STORE_SCHEMA" });
  });

  it("reserves the room of what is arriving", async () => {
    const directory = join(folder, "s");
    const probe = await open(directory);
    const { freeBytes } = await probe.usage();
    await probe[Symbol.asyncDispose]();
    await using store = await open(directory, freeBytes - 10 * 1024 * 1024);
    const digest = digestOf(Buffer.from("a"));
    const large = store.openIngest({ digest, sizeBytes: 1024 * 1024 * 1024 });
    await expect(large).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
    expect(await readdir(join(directory, "ingests"))).toEqual([]);
  });

  it.skipIf(!isRoot)("tells of a full disk", async () => {
    const mount = join(folder, "m");
    await mkdir(mount);
    await execute("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
    try {
      await using store = await open(join(mount, "s"));
      const bytes = new Uint8Array(randomBytes(4 * PIECE));
      const full = store.put(digestOf(bytes), bytes);
      await expect(full).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
    } finally {
      await execute("umount", [mount]);
    }
  });

  it.skipIf(!isRoot)("tells whose folder it is not", async () => {
    await mkdir(join(folder, "s"), { mode: 0o700 });
    await chmod(folder, 0o755);
    const script = `import("${new URL("../src/index.ts", import.meta.url).href}").then(async ({ openFileStore }) => { const { noMetrics, silentLogger, systemClock } = await import("@shoal/runtime"); await openFileStore({ clock: systemClock, logger: silentLogger, metrics: noMetrics }, { directory: ${JSON.stringify(join(folder, "s"))} }); }).catch((error) => console.log(error.code))`;
    const { stdout } = await execute(
      "setpriv",
      ["--reuid=65534", "--clear-groups", NODE, "-e", script],
      {
        cwd: new URL("..", import.meta.url).pathname,
      },
    );
    expect(stdout.trim()).toBe("ERR_STORE_PERMISSION");
  });
});

/** Kills a writer when it has acknowledged so many pieces. @returns how many it had */
async function killAfter(child: ChildProcess, pieces: number): Promise<number> {
  let text = "";
  const count = (): number => text.split("\n").filter((line) => /^[0-9]+$/.test(line)).length;
  child.stdout!.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    // A busy machine kills late: what the rounds before have left may be fewer pieces.
    if (count() >= pieces || text.includes("waiting")) child.kill("SIGKILL");
  });
  await new Promise((resolve) => {
    child.once("close", resolve);
  });
  return count();
}
