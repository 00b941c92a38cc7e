import { randomUUID } from "node:crypto";
import { isFinished, type LayerProgress, type Pull } from "@shoal/api";
import {
  type Descriptor,
  formatPlatform,
  formatReference,
  hostPlatform,
  parseManifest,
  parsePlatform,
  parseReference,
  type Platform,
  type Reference,
  selectPlatform,
} from "@shoal/oci";
import {
  type AuditLog,
  type Clock,
  CodedError,
  hasCode,
  type Logger,
  noAuditLog,
} from "@shoal/runtime";
import type { Store } from "@shoal/store";
import type { OpenBlob, Resolution, Swarm } from "@shoal/swarm";
import type { UnfinishedPulls } from "./unfinished-pulls.ts";

/** Finished pulls are remembered up to this many. */
const REMEMBERED = 100;
/** Blobs of one pull at a time. */
const BLOBS_AT_ONCE = 4;
const PROGRESS_MS = 200;

export interface PullsComponents {
  readonly swarm: Pick<Swarm, "resolve" | "open">;
  readonly store: Pick<Store, "nameImage" | "stat">;
  readonly unfinished: UnfinishedPulls;
  readonly clock: Clock;
  readonly logger: Logger;
  /** @default nowhere */
  readonly audit?: AuditLog;
}

/** Pulls into the store that programs have asked for. Those that disposing cuts off go on after a restart. */
export interface Pulls extends AsyncDisposable {
  /** Begins a pull. @throws ERR_REFERENCE_INVALID, ERR_PLATFORM_INVALID */
  start(request: { readonly reference: string; readonly platform?: string | undefined }): Pull;
  /** Goes on with the pulls that the daemon's last run left, under the ids that they had. */
  resume(): Promise<void>;
  get(id: string): Pull | undefined;
  list(): readonly Pull[];
  /** @returns whether there is such a pull */
  cancel(id: string): boolean;
  /** Hears of every change of every pull. */
  onChange(listener: (pull: Pull) => void): Disposable;
}

interface Job {
  pull: Pull;
  readonly abort: AbortController;
  done: Promise<void>;
}

export function createPulls(components: PullsComponents): Pulls {
  const { swarm, store, unfinished, clock, logger, audit = noAuditLog } = components;
  const jobs = new Map<string, Job>();
  const listeners = new Set<(pull: Pull) => void>();
  let stopping = false;

  function update(job: Job, change: Partial<Pull>): void {
    job.pull = { ...job.pull, ...change };
    if (isFinished(job.pull) && !stopping) unfinished.ended(job.pull.id);
    for (const listener of listeners) listener(job.pull);
  }

  function forgetOldest(): void {
    for (const [id, { pull }] of jobs) {
      if (jobs.size <= REMEMBERED) return;
      if (isFinished(pull)) jobs.delete(id);
    }
  }

  async function run(job: Job, reference: Reference, platform: Platform | "all"): Promise<void> {
    const { signal } = job.abort;
    const { repository } = reference;
    const root = await swarm.resolve(repository, reference.digest ?? reference.tag!, { signal });
    update(job, { digest: root.digest, mediaType: root.mediaType, stale: root.stale });
    const wanted = await blobsOf(root, reference, platform, signal);
    const layers = wanted.map((descriptor) => waitingLayer(descriptor));
    update(job, { state: "fetching", layers });
    await fetchAll(job, wanted, layers, reference);
    const descriptor = { mediaType: root.mediaType, digest: root.digest, size: root.bytes.length };
    await store.nameImage({ name: formatReference(reference), descriptor });
    update(job, { state: "done", finishedAt: isoNow(), layers: [...layers] });
    record(job, "done");
  }

  function record(job: Job, outcome: "done" | "failed" | "cancelled", error?: unknown): void {
    const { reference, digest, stale, layers } = job.pull;
    audit.record({
      kind: "pull",
      via: "socket",
      object: "image",
      reference,
      digest,
      outcome,
      code:
        error === undefined ? undefined : error instanceof CodedError ? error.code : "ERR_INTERNAL",
      stale: stale === true ? true : undefined,
      bytes: layers.reduce((sum, layer) => sum + layer.arrivedBytes, 0),
    });
    if (hasCode(error, "ERR_DIGEST_MISMATCH"))
      audit.record({
        kind: "verification-failure",
        of: "upstream",
        who: parseReference(reference).repository.registry,
        digest,
      });
  }

  /** Config and layers of the chosen platforms, each once. */
  async function blobsOf(
    manifest: Resolution,
    reference: Reference,
    platform: Platform | "all",
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    const parsed = parseManifest(manifest.bytes, manifest.mediaType);
    if (parsed.kind === "opaque")
      throw new CodedError(
        "ERR_MANIFEST_UNSUPPORTED",
        `${formatReference(reference)} is of type ${parsed.mediaType}, which Shoal does not pull; pull it with an engine`,
      );
    if (parsed.kind === "manifest") return uniqueByDigest(parsed.blobs);
    const chosen =
      platform === "all" ? parsed.manifests : [selectPlatform(parsed.manifests, platform)];
    const blobs: Descriptor[] = [];
    for (const child of chosen) {
      if (child === undefined)
        throw new CodedError(
          "ERR_PLATFORM_NOT_FOUND",
          `${formatReference(reference)} has no image for ${formatPlatform(platform as Platform)}; it has ${offered(parsed.manifests)}; choose one with --platform`,
        );
      const found = await swarm.resolve(reference.repository, child.digest, { signal });
      blobs.push(...(await blobsOf(found, reference, platform, signal)));
    }
    return uniqueByDigest(blobs);
  }

  async function fetchAll(
    job: Job,
    wanted: readonly Descriptor[],
    layers: LayerProgress[],
    reference: Reference,
  ): Promise<void> {
    const queue = wanted.entries();
    const failed = new AbortController();
    const signal = AbortSignal.any([job.abort.signal, failed.signal]);
    const workers = Array.from({ length: BLOBS_AT_ONCE }, async () => {
      for (const [index, descriptor] of queue) {
        const show = (change: Partial<LayerProgress>): void => {
          layers[index] = { ...layers[index]!, ...change };
          update(job, { layers: [...layers] });
        };
        try {
          await fetchOne(descriptor, reference, show, signal);
        } catch (error) {
          show({ state: "failed" });
          failed.abort(error);
          throw error;
        }
      }
    });
    const outcomes = await Promise.allSettled(workers);
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw failure.reason;
  }

  async function fetchOne(
    { digest, size }: Descriptor,
    { repository }: Reference,
    show: (change: Partial<LayerProgress>) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await using blob = await swarm.open({ digest, sizeBytes: size, repository }, { signal });
    show({ state: "fetching", ...counts(blob) });
    using _ticker = every(clock, PROGRESS_MS, () => show(counts(blob)));
    await blob.finished({ signal });
    show({ state: "done", ...counts(blob) });
  }

  function fail(job: Job, error: unknown): void {
    if (job.abort.signal.aborted) {
      const what = stopping ? "a pull waits for the next start" : "a pull was cancelled";
      logger.info({ reference: job.pull.reference }, what);
      update(job, { state: "cancelled", finishedAt: isoNow() });
      record(job, "cancelled");
      return;
    }
    logger.info({ error, reference: job.pull.reference }, "a pull failed");
    const coded = error instanceof CodedError ? error : undefined;
    record(job, "failed", error);
    update(job, {
      state: "failed",
      finishedAt: isoNow(),
      error: {
        code: coded?.code ?? "ERR_INTERNAL",
        message: coded?.message ?? "the daemon failed; see its log",
      },
    });
  }

  function isoNow(): string {
    return new Date(clock.wallNow()).toISOString();
  }

  function start(
    request: { readonly reference: string; readonly platform?: string | undefined },
    id: string = randomUUID(),
  ): Pull {
    const reference = parseReference(request.reference);
    const platform =
      request.platform === "all"
        ? "all"
        : request.platform === undefined
          ? hostPlatform()
          : parsePlatform(request.platform);
    const pull: Pull = {
      id,
      reference: formatReference(reference),
      platform: platform === "all" ? "all" : formatPlatform(platform),
      state: "resolving",
      startedAt: isoNow(),
      layers: [],
    };
    const job: Job = { pull, abort: new AbortController(), done: Promise.resolve() };
    jobs.set(pull.id, job);
    forgetOldest();
    unfinished.begun(pull);
    job.done = run(job, reference, platform).catch((error: unknown) => fail(job, error));
    logger.info(
      { reference: pull.reference, registry: reference.repository.registry },
      "a pull has begun",
    );
    return pull;
  }

  return {
    start: (request) => start(request),
    async resume() {
      for (const { id, reference, platform } of await unfinished.left())
        start({ reference, platform }, id);
    },
    get: (id) => jobs.get(id)?.pull,
    list: () => [...jobs.values()].map(({ pull }) => pull).toReversed(),
    cancel(id) {
      const job = jobs.get(id);
      if (job !== undefined && !isFinished(job.pull))
        job.abort.abort(new CodedError("ERR_CANCELLED", "the pull was cancelled"));
      return job !== undefined;
    },
    onChange(listener) {
      listeners.add(listener);
      return {
        [Symbol.dispose]() {
          listeners.delete(listener);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      stopping = true;
      for (const id of jobs.keys()) this.cancel(id);
      await Promise.all([...jobs.values()].map(async ({ done }) => await done));
    },
  };
}

function waitingLayer({ digest, mediaType, size }: Descriptor): LayerProgress {
  return {
    digest,
    mediaType,
    sizeBytes: size,
    arrivedBytes: 0,
    fromUpstreamBytes: 0,
    fromPeersBytes: 0,
    fromStoreBytes: 0,
    state: "waiting",
  };
}

function counts(blob: OpenBlob): Partial<LayerProgress> {
  const { arrivedBytes, fromUpstreamBytes, fromPeersBytes, fromStoreBytes } = blob.progress();
  return { arrivedBytes, fromUpstreamBytes, fromPeersBytes, fromStoreBytes };
}

function uniqueByDigest(descriptors: readonly Descriptor[]): Descriptor[] {
  return [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()];
}

function offered(manifests: readonly Descriptor[]): string {
  const platforms = manifests.flatMap(({ platform }) =>
    platform === undefined || platform.os === "unknown" ? [] : [formatPlatform(platform)],
  );
  return platforms.length === 0 ? "none that is named" : [...new Set(platforms)].join(", ");
}

function every(clock: Clock, intervalMs: number, work: () => void): Disposable {
  let timer: Disposable;
  const again = (): void => {
    work();
    timer = clock.schedule(intervalMs, again);
  };
  timer = clock.schedule(intervalMs, again);
  return {
    [Symbol.dispose]() {
      timer[Symbol.dispose]();
    },
  };
}
