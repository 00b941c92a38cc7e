import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import { type Clock, CodedError, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FileStore, openFileStore, pieceLength, pieceOffset, pieces } from "../src/index.ts";

const PIECE = 256 * 1024;

/** Tries again at once what is tried again within 5 s. */
const hasty: Clock = {
  ...systemClock,
  schedule: (delayMs, callback) => systemClock.schedule(delayMs / 200, callback),
};

const FOLDER_CALLS = ["open", "rename", "rm", "readFile"] as const;
const FILE_CALLS = ["write", "read", "datasync", "sync", "truncate", "writeFile"] as const;
type Call = (...args: unknown[]) => Promise<unknown>;

/** Makes one call of the file system fail, counted from now on. */
interface Faults extends Disposable {
  /** Calls since it was armed. */
  readonly calls: readonly string[];
  arm(failing: number, code: string): void;
  disarm(): void;
}

async function createFaults(anyFile: string): Promise<Faults> {
  const file = await open(anyFile, "w");
  const handle = Object.getPrototypeOf(file) as Record<string, Call>;
  await file.close();
  const folder = fs.promises as unknown as Record<string, Call>;
  let calls: string[] = [];
  let failAt = 0;
  let code: string | undefined;

  function wrap(of: Record<string, Call>, name: string): () => void {
    const real = of[name]!;
    of[name] = async function (this: FileHandle | undefined, ...args) {
      if (code === undefined) return await real.apply(this, args);
      calls.push(name);
      if (calls.length === failAt)
        throw Object.assign(new Error(`${code}: injected, ${name}`), { code });
      return await real.apply(this, args);
    };
    return () => {
      of[name] = real;
    };
  }

  const restore = [
    ...FOLDER_CALLS.map((name) => wrap(folder, name)),
    ...FILE_CALLS.map((name) => wrap(handle, name)),
  ];
  syncBuiltinESMExports();
  return {
    get calls() {
      return calls;
    },
    arm(failing, errno) {
      calls = [];
      failAt = failing;
      code = errno;
    },
    disarm() {
      code = undefined;
    },
    [Symbol.dispose]() {
      for (const one of restore) one();
      syncBuiltinESMExports();
    },
  };
}

describe("a disk that fails at one call", () => {
  let folder = "";
  let faults: Faults;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-calls-"));
    faults = await createFaults(join(folder, "any"));
  });
  afterAll(async () => {
    faults[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  async function ingest(store: FileStore, bytes: Uint8Array): Promise<void> {
    await using one = await store.openIngest({ digest: digestOf(bytes), sizeBytes: bytes.length });
    for (const piece of pieces(one.geometry)) {
      const start = pieceOffset(one.geometry, piece);
      await one.write(piece, bytes.slice(start, start + pieceLength(one.geometry, piece)));
    }
    await one.commit();
  }

  const works = {
    "an ingest": ingest,
    "a small blob": async (store: FileStore, bytes: Uint8Array): Promise<void> => {
      await store.put(digestOf(bytes), bytes);
    },
  };

  for (const [what, work] of Object.entries(works))
    it.each(["ENOSPC", "EIO"])(`${what} ends right or with a clear error, at %s`, async (code) => {
      const store = await openFileStore(
        { clock: hasty, logger: silentLogger, metrics: noMetrics },
        { directory: join(folder, `${what} ${code}`) },
      );
      let tried = 0;
      for (let failing = 1; ; failing++) {
        const bytes = new Uint8Array(randomBytes(what === "an ingest" ? 2 * PIECE + 5 : 2000));
        faults.arm(failing, code);
        const outcome = await work(store, bytes).then(
          () => "done" as const,
          (error: unknown) => error,
        );
        faults.disarm();
        const wasReached = faults.calls.length >= failing;
        if (outcome !== "done") {
          expect(outcome, faults.calls.at(-1)).toBeInstanceOf(CodedError);
          expect((outcome as CodedError).code).toMatch(/^ERR_STORE_(FULL|IO)$/);
          expect(store.stat(digestOf(bytes))).toBeUndefined();
        }
        await expect.poll(async () => (await store.usage()).state, { interval: 10 }).toBe("ok");
        // Whatever was left of it, the blob can be had.
        if (outcome !== "done") await work(store, bytes);
        expect(await store.readAll(digestOf(bytes), 2 ** 30)).toEqual(bytes);
        if (!wasReached) break;
        tried += 1;
      }
      expect(tried).toBeGreaterThanOrEqual(what === "an ingest" ? 12 : 5);
      expect((await store.verify()).findings).toEqual([]);
      await store[Symbol.asyncDispose]();
    });
});
