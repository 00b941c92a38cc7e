import { type Digest, parseReference, type Repository } from "@shoal/oci";
import { type Clock, createTurns, type Logger, sleep } from "@shoal/runtime";
import type { FileStore } from "@shoal/store";
import type { Swarm } from "@shoal/swarm";

/** What could not be fetched is tried again after these. Milliseconds. */
const RETRIES_MS = [60_000, 600_000, 6_000_000] as const;

export interface RefetchingComponents {
  readonly store: Pick<FileStore, "on" | "imagesNaming" | "stat" | "table">;
  readonly swarm: Pick<Swarm, "open" | "resolve">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Fetches what has rotted on the disk again, one blob at a time, where an image tells from where. */
export function createRefetching(components: RefetchingComponents): AsyncDisposable {
  const { store, swarm, clock, logger } = components;
  const stopped = new AbortController();
  const { signal } = stopped;
  const manifests = store.table<unknown>("manifests");
  const waiting = new Set<Promise<void>>();
  const inTurn = createTurns();

  async function sourceOf(digest: Digest): Promise<Repository | undefined> {
    const [image] = await store.imagesNaming(digest);
    return image === undefined ? undefined : parseReference(image.name).repository;
  }

  async function fetch(digest: Digest, repository: Repository): Promise<void> {
    if (store.stat(digest) !== undefined) return;
    if ((await manifests.get(digest)) !== undefined) {
      await swarm.resolve(repository, digest, { signal });
      return;
    }
    // Its size is asked for: that of a file that rotted may have been another.
    await using blob = await swarm.open({ digest, repository }, { signal });
    await blob.finished({ signal });
  }

  /** @returns whether it is here, or will never be */
  async function tryToFetch(digest: Digest): Promise<boolean> {
    try {
      signal.throwIfAborted();
      const repository = await sourceOf(digest);
      if (repository === undefined) {
        logger.info({ digest }, "no image here names what has rotted; it is not fetched again");
        return true;
      }
      await fetch(digest, repository);
      logger.info({ digest }, "what had rotted is here again");
      return true;
    } catch (error) {
      if (!signal.aborted) logger.warn({ error, digest }, "what has rotted could not be fetched");
      return false;
    }
  }

  async function refetch(digest: Digest): Promise<void> {
    for (const retryMs of RETRIES_MS) {
      if (await inTurn(async () => await tryToFetch(digest))) return;
      await sleep(clock, retryMs, { signal });
    }
    await inTurn(async () => await tryToFetch(digest));
  }

  const listening = store.on("rotted", ({ digest }) => {
    const work = refetch(digest)
      .catch(() => undefined)
      .finally(() => waiting.delete(work));
    waiting.add(work);
  });

  return {
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]();
      stopped.abort(new DOMException("the daemon stops", "AbortError"));
      await Promise.all(waiting);
    },
  };
}
