import type { Digest, Repository } from "@shoal/oci";
import {
  type AbortOptions,
  type Clock,
  CodedError,
  hasCode,
  keepNewest,
  makeRoom,
} from "@shoal/runtime";
import type { Swarm } from "@shoal/swarm";
import { isFinal } from "@shoal/upstream";
import { BodyCut } from "./body.ts";
import type { Sizes } from "./sizes.ts";

/** How long a failure is remembered. Milliseconds. */
const BROKEN_MS = 5 * 60_000;
/** Engines ask for one manifest in several ways, one after another: the blob is tried again once for all. */
const JUST_NOW_MS = 2000;
/** How long it may take to try a blob again: engines give up at 30 s. Milliseconds. */
const TRY_MS = 15_000;
const MAX_BLOBS = 1000;
const MAX_LINKS = 20_000;

/**
 * Images of which a blob could not be had lately. Podman's family and CRI-O ask nobody else for the blobs of a
 * manifest that the mirror has given them: only a mirror that refuses the manifest sends them on. It does so when
 * the blob can't be had now either, since the engine may have no other upstream.
 */
export interface BrokenImages {
  /**
   * A manifest is about to be given.
   * @throws ERR_IMAGE_BROKEN when a blob of it, or of what it names, could not be had and still can't
   */
  ensureWhole(
    repository: Repository,
    manifest: Digest,
    children: readonly Digest[],
    options?: TryOptions,
  ): Promise<void>;
  /** Gives a blob, and notes when it could not be had. @throws what `give` throws */
  watch(repository: Repository, blob: Digest, give: () => Promise<void>): Promise<void>;
  /** All of a blob has been given. */
  succeeded(repository: Repository, blob: Digest): void;
}

export interface TryOptions extends AbortOptions {
  /** Whether a blob is to be had from the registry alone. @default false */
  readonly alone?: boolean;
}

/** A blob in a repository: another one may have it. */
function keyOf({ registry, name }: Repository, digest: Digest): string {
  return `${registry}/${name}@${digest}`;
}

interface Failure {
  readonly blob: Digest;
  readonly atMs: number;
  readonly error: CodedError;
}

export function createBrokenImages(components: {
  readonly swarm: Pick<Swarm, "open">;
  readonly sizes: Pick<Sizes, "get">;
  readonly clock: Pick<Clock, "now">;
}): BrokenImages {
  const { swarm, sizes, clock } = components;
  const broken = new Map<string, Failure>();
  /** The manifest that has named a blob or a manifest last. */
  const parents = new Map<Digest, Digest>();
  /** For which blob a manifest is broken. */
  const causes = new Map<Digest, Digest>();

  function link(child: Digest, parent: Digest): void {
    const linked = parents.get(child);
    if (linked === parent) return;
    // Nothing is moved to the end: each HEAD looks in here, and moves cost a Map new tables.
    if (linked === undefined) makeRoom(parents, MAX_LINKS);
    parents.set(child, parent);
  }

  function failureOf(repository: Repository, blob: Digest | undefined): Failure | undefined {
    const found = blob === undefined ? undefined : broken.get(keyOf(repository, blob));
    return found === undefined || found.atMs + BROKEN_MS <= clock.now() ? undefined : found;
  }

  function failed(repository: Repository, blob: Digest, error: unknown): void {
    if (!(error instanceof CodedError) || !isDefinitive(error)) return;
    const failure = { blob, atMs: clock.now(), error };
    keepNewest(broken, keyOf(repository, blob), failure, MAX_BLOBS);
    let parent = parents.get(blob);
    // What an index names can't name the index: digests don't go round.
    for (; parent !== undefined; parent = parents.get(parent))
      keepNewest(causes, parent, blob, MAX_LINKS);
  }

  function succeeded(repository: Repository, blob: Digest): void {
    if (broken.size > 0) broken.delete(keyOf(repository, blob));
  }

  /** Whether the blob can be had now. What comes, but slowly, can; unless it came before, and was wrong. */
  async function isThere(
    repository: Repository,
    { blob: digest, error }: Failure,
    { signal, alone = false }: TryOptions,
  ): Promise<boolean> {
    const late = AbortSignal.timeout(TRY_MS);
    const either = signal === undefined ? late : AbortSignal.any([signal, late]);
    const sizeBytes = sizes.get(digest);
    const known = sizeBytes === undefined ? {} : { sizeBytes };
    try {
      await using blob = await swarm.open(
        { digest, repository, alone, ...known },
        { signal: either },
      );
      // What is not kept is not read for nobody, as far as it is there.
      if (!alone) await blob.finished({ signal: either });
      else for await (const _ of blob.stream({ start: 0, end: 1 }, { signal: either })) break;
      succeeded(repository, digest);
      return true;
    } catch (again) {
      signal?.throwIfAborted();
      if (late.aborted) return !hasCode(error, "ERR_DIGEST_MISMATCH");
      failed(repository, digest, again);
      return false;
    }
  }

  return {
    async ensureWhole(repository, manifest, children, options = {}) {
      for (const child of children) link(child, manifest);
      // Engines ask for manifests thousands of times, of which nearly none is broken.
      if (broken.size === 0) return;
      for (const blob of [causes.get(manifest), ...children]) {
        const failure = failureOf(repository, blob);
        if (failure === undefined) continue;
        const isFresh = clock.now() - failure.atMs < JUST_NOW_MS;
        if (!isFresh && (await isThere(repository, failure, options))) continue;
        keepNewest(causes, manifest, failure.blob, MAX_LINKS);
        throw new CodedError(
          "ERR_IMAGE_BROKEN",
          `blob ${failure.blob} of this image can't be had, so that engines are sent to their own upstream for it: ${failure.error.message}`,
          { cause: failure.error, details: { manifest, blob: failure.blob } },
        );
      }
    },
    async watch(repository, blob, give) {
      try {
        await give();
      } catch (error) {
        failed(repository, blob, error instanceof BodyCut ? error.cause : error);
        throw error;
      }
    },
    succeeded,
  };
}

/** Whether the next try would fail as well. Wrong bytes count where they were the registry's: members give others. */
function isDefinitive(error: CodedError): boolean {
  if (error.code === "ERR_DIGEST_MISMATCH") return error.details["registry"] !== undefined;
  return isFinal(error) || hasCode(error, "ERR_UPSTREAM_ENCODING", "ERR_BLOB_SIZE");
}
