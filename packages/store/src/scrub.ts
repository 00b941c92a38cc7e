import { createDigester, type Digest } from "@shoal/oci";
import { type Clock, CodedError, type Counter, hasCode, type Logger, sleep } from "@shoal/runtime";
import type { BlobHandle, BlobInfo, RecordTable } from "./types.ts";

/** Slower than this a scrub is not worth its wake-ups. Bytes a second. */
const LEAST_RATE = 1024 * 1024;
/** While blobs arrive or are read, a chunk waits for its turn, but no longer than this. Milliseconds. */
const YIELD_MS = 10_000;
const YIELD_STEP_MS = 500;
const DAY_MS = 24 * 3600 * 1000;
/** How often it is looked whether a pass is due. Milliseconds. */
const LOOK_MS = 600_000;

/** What a disk answers for a blob that it can't read; without one, the file is shorter than it was. */
const FAULTS = new Set<unknown>(["EIO", "EUCLEAN", "EBADMSG", undefined]);

/** A blob that is not what it was. */
export interface ScrubFinding extends BlobInfo {
  /** `rotten`: other bytes; `unreadable`: the disk gives none; `missing`: no file. */
  readonly fault: "rotten" | "unreadable" | "missing";
}

/** A reading of all blobs, under way or done. */
export interface ScrubPass {
  readonly startedMs: number;
  /** Absent while it is under way. */
  readonly finishedMs?: number;
  readonly checkedBlobs: number;
  readonly checkedBytes: number;
  readonly totalBlobs: number;
  readonly totalBytes: number;
  readonly findings: readonly ScrubFinding[];
  /** What ended it before all were read. */
  readonly failure?: CodedError;
}

export interface ScrubberComponents {
  readonly blobs: () => Iterable<BlobInfo>;
  readonly stat: (digest: Digest) => BlobInfo | undefined;
  /** Opens a blob without using it; `undefined` when it has no file. */
  readonly open: (digest: Digest) => Promise<BlobHandle | undefined>;
  /** Whether blobs arrive or are read by others. */
  readonly isBusy: () => boolean;
  /** @throws what is wrong with the disk as a whole */
  readonly ensureDisk: () => Promise<void>;
  /** A blob is wrong: it is taken out of the store. */
  readonly onFound: (finding: ScrubFinding) => Promise<void>;
  /** Where the background pass is, over restarts. */
  readonly table: RecordTable<{ readonly cursor?: string; readonly finishedMs?: number }>;
  readonly checkedBytes: Counter;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface ScrubberInit {
  /** Each blob is read once in so many days; 0 for never. */
  readonly scrubDays: number;
}

/** Reads blobs and compares them with their digests, all the time at an idle rate, or at once. */
export interface Scrubber extends AsyncDisposable {
  start(): void;
  /** Reads all blobs as fast as it can, or joins the pass that does so. */
  verify(): Promise<ScrubPass>;
  /** The last pass of {@link verify}, or the one under way. */
  readonly pass: ScrubPass | undefined;
  /** Looks at a blob of which somebody found bytes to be wrong. @returns whether it was, and has been taken out */
  doubt(digest: Digest): Promise<boolean>;
  /** Reads one blob, and tells what is wrong with it without doing anything about it. */
  inspect(info: BlobInfo): Promise<ScrubFinding["fault"] | undefined>;
}

export function createScrubber(components: ScrubberComponents, init: ScrubberInit): Scrubber {
  const { blobs, stat, open, isBusy, ensureDisk, onFound, table, checkedBytes, clock, logger } =
    components;
  const stopped = new AbortController();
  const { signal } = stopped;
  let pass: ScrubPass | undefined;
  let verifying: Promise<ScrubPass> | undefined;
  let background: Promise<void> | undefined;
  const doubting = new Map<Digest, Promise<boolean>>();
  let nextLook: Disposable | undefined;

  /** @param pace waits after each chunk */
  async function read(
    digest: Digest,
    pace: (lengthBytes: number) => Promise<void>,
  ): Promise<ScrubFinding["fault"] | undefined> {
    try {
      await using handle = await open(digest);
      if (handle === undefined) return "missing";
      const digester = createDigester(digest);
      for await (const chunk of handle.stream(undefined, { signal })) {
        digester.update(chunk);
        checkedBytes.add(chunk.length);
        await pace(chunk.length);
      }
      return digester.digest() === digest ? undefined : "rotten";
    } catch (error) {
      signal.throwIfAborted();
      // Too many open files, say, are no fault of the blob.
      if (!hasCode(error, "ERR_STORE_IO") || !FAULTS.has(error.details["errno"])) throw error;
      logger.warn({ error, digest }, "a blob can't be read");
      return "unreadable";
    }
  }

  async function check(
    info: BlobInfo,
    pace: (lengthBytes: number) => Promise<void>,
  ): Promise<ScrubFinding | undefined> {
    const { digest } = info;
    // Once more: what a cable or the memory turned is right when it is read again.
    const seen = (await read(digest, pace)) && (await read(digest, pace));
    // What has been removed meanwhile is nobody's loss.
    if (seen === undefined || (seen !== "missing" && stat(digest) === undefined)) return undefined;
    // A disk that is gone as a whole is no fault of each of its blobs.
    if (seen !== "rotten") await ensureDisk();
    const finding = { ...info, fault: seen };
    await onFound(finding);
    return finding;
  }

  async function verifyAll(): Promise<ScrubPass> {
    try {
      return await readAll();
    } catch (error) {
      const failure =
        error instanceof CodedError
          ? error
          : new CodedError("ERR_STORE_IO", "the store could not be read; see the daemon's log", {
              cause: error,
            });
      if (pass !== undefined) pass = { ...pass, finishedMs: clock.wallNow(), failure };
      throw failure;
    }
  }

  async function readAll(): Promise<ScrubPass> {
    const all = [...blobs()];
    const totalBytes = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let now: ScrubPass = {
      startedMs: clock.wallNow(),
      checkedBlobs: 0,
      checkedBytes: 0,
      totalBlobs: all.length,
      totalBytes,
      findings: [],
    };
    pass = now;
    for (const info of all) {
      signal.throwIfAborted();
      // What has been removed since is nobody's loss.
      const finding =
        stat(info.digest) === undefined ? undefined : await check(info, async () => undefined);
      now = {
        ...now,
        checkedBlobs: now.checkedBlobs + 1,
        checkedBytes: now.checkedBytes + info.sizeBytes,
        findings: finding === undefined ? now.findings : [...now.findings, finding],
      };
      pass = now;
    }
    pass = { ...now, finishedMs: clock.wallNow() };
    await table.put("last", { finishedMs: pass.finishedMs! });
    return pass;
  }

  async function paced(lengthBytes: number, bytesPerSecond: number): Promise<void> {
    await sleep(clock, (lengthBytes / bytesPerSecond) * 1000, { signal });
    for (let waitedMs = 0; isBusy() && waitedMs < YIELD_MS; waitedMs += YIELD_STEP_MS)
      await sleep(clock, YIELD_STEP_MS, { signal });
  }

  /** One reading of all, from where the last run of the daemon was. */
  async function runBackground(): Promise<void> {
    const { cursor = "" } = (await table.get("last")) ?? {};
    const all = [...blobs()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
    const totalBytes = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    // In half of the time that there is, so that a machine that is often off or busy gets round too.
    const bytesPerSecond = Math.max(
      LEAST_RATE,
      totalBytes / ((init.scrubDays * DAY_MS) / 2 / 1000),
    );
    for (const info of all) {
      if (info.digest <= cursor || stat(info.digest) === undefined) continue;
      await check(info, async (lengthBytes) => await paced(lengthBytes, bytesPerSecond));
      await table.put("last", { cursor: info.digest });
    }
    await table.put("last", { finishedMs: clock.wallNow() });
    logger.info({ blobs: all.length }, "all blobs of the store have been read and compared");
  }

  async function look(): Promise<void> {
    const last = await table.get("last");
    const finishedMs = last?.finishedMs;
    // A time ahead of the clock is from before the clock was set back.
    const agoMs = finishedMs === undefined ? Infinity : Math.abs(clock.wallNow() - finishedMs);
    if (last === undefined) await table.put("last", { finishedMs: clock.wallNow() });
    else if (agoMs >= init.scrubDays * DAY_MS) await runBackground();
  }

  function lookLater(): void {
    nextLook = clock.schedule(LOOK_MS, () => {
      background = look()
        .catch((error: unknown) => {
          if (!signal.aborted) logger.warn({ error }, "the store could not be scrubbed");
        })
        .finally(() => {
          if (!signal.aborted) lookLater();
        });
    });
  }

  async function checkDoubted(digest: Digest): Promise<boolean> {
    const info = stat(digest);
    try {
      if (info === undefined) return false;
      return (await check(info, async () => undefined)) !== undefined;
    } catch (error) {
      if (!signal.aborted) logger.warn({ error, digest }, "a doubtful blob could not be checked");
      return false;
    } finally {
      doubting.delete(digest);
    }
  }

  return {
    get pass() {
      return pass;
    },
    start() {
      if (init.scrubDays > 0) lookLater();
    },
    async verify() {
      verifying ??= verifyAll().finally(() => {
        verifying = undefined;
      });
      return await verifying;
    },
    inspect: async ({ digest }) => await read(digest, async () => undefined),
    async doubt(digest) {
      const running = doubting.get(digest) ?? checkDoubted(digest);
      doubting.set(digest, running);
      return await running;
    },
    async [Symbol.asyncDispose]() {
      nextLook?.[Symbol.dispose]();
      stopped.abort(new DOMException("the store is closed", "AbortError"));
      await Promise.allSettled([verifying, background, ...doubting.values()]);
    },
  };
}
