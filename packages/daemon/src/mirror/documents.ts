import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import { type AbortOptions, type Clock, createCoalescer } from "@shoal/runtime";
import { isPassing, type Upstream, type UpstreamDocument } from "@shoal/upstream";
import { askOrFallBack } from "../fall-back.ts";

export interface DocumentsInit {
  /** An answer serves others for this long. Milliseconds. */
  readonly freshMs: number;
  /** With the registry out of reach an answer serves up to this age. Milliseconds. */
  readonly staleMaxMs: number;
}

/** A registry's answer, and how old it is. */
export interface Document extends UpstreamDocument {
  readonly ageMs: number;
  /** The registry could not be asked, and the answer is older than the fresh time. */
  readonly stale: boolean;
}

/** Lists of tags and referrers: asked for once by many, and kept in memory for a while. */
export interface Documents {
  /** @throws what Upstream throws */
  tags(repository: Repository, query: URLSearchParams, options?: AbortOptions): Promise<Document>;
  /** @throws what Upstream throws */
  referrers(
    repository: Repository,
    digest: Digest,
    query: URLSearchParams,
    options?: AbortOptions,
  ): Promise<Document>;
}

const MAX_BYTES = 16 * 1024 * 1024;
/** What an entry takes beside its key and its body. Queries are the client's to choose, and many. */
const ENTRY_BYTES = 1024;

export function createDocuments(
  components: { readonly upstream: Pick<Upstream, "tags" | "referrers">; readonly clock: Clock },
  init: DocumentsInit,
): Documents {
  const { upstream, clock } = components;
  const kept = new Map<string, { readonly document: UpstreamDocument; readonly atMs: number }>();
  const questions = createCoalescer<Document>();
  let keptBytes = 0;

  function drop(key: string): void {
    const entry = kept.get(key);
    if (entry === undefined) return;
    keptBytes -= entryBytes(key, entry.document);
    kept.delete(key);
  }
  function keep(key: string, document: UpstreamDocument): void {
    drop(key);
    kept.set(key, { document, atMs: clock.now() });
    keptBytes += entryBytes(key, document);
    for (const oldest of kept.keys()) {
      if (keptBytes <= MAX_BYTES) break;
      drop(oldest);
    }
  }
  async function askOnce(
    key: string,
    ask: (signal: AbortSignal) => Promise<UpstreamDocument>,
    signal: AbortSignal,
  ): Promise<Document> {
    const known = kept.get(key);
    const ageMs = known === undefined ? Number.POSITIVE_INFINITY : clock.now() - known.atMs;
    const mayServe = known !== undefined && ageMs <= init.staleMaxMs;
    try {
      return await askOrFallBack<Document>(
        clock,
        async (limited) => {
          const document = await ask(limited);
          keep(key, document);
          return { ...document, ageMs: 0, stale: false };
        },
        mayServe ? () => ({ ...known.document, ageMs, stale: true }) : undefined,
        signal,
      );
    } catch (error) {
      // What the registry denies now is not given out of memory later.
      if (!signal.aborted && !isPassing(error)) drop(key);
      throw error;
    }
  }
  async function answer(
    key: string,
    ask: (signal: AbortSignal) => Promise<UpstreamDocument>,
    options: AbortOptions,
  ): Promise<Document> {
    const known = kept.get(key);
    const ageMs = known === undefined ? Number.POSITIVE_INFINITY : clock.now() - known.atMs;
    if (known !== undefined && ageMs < init.freshMs)
      return { ...known.document, ageMs, stale: false };
    return await questions.run(key, async (signal) => await askOnce(key, ask, signal), options);
  }

  return {
    async tags(repository, query, options = {}) {
      const key = `tags ${formatRepository(repository)}?${query.toString()}`;
      return await answer(
        key,
        async (signal) => await upstream.tags(repository, query, { signal }),
        options,
      );
    },
    async referrers(repository, digest, query, options = {}) {
      const key = `referrers ${formatRepository(repository)}@${digest}?${query.toString()}`;
      return await answer(
        key,
        async (signal) => await upstream.referrers(repository, digest, query, { signal }),
        options,
      );
    },
  };
}

function entryBytes(key: string, { bytes, nextQuery = "" }: UpstreamDocument): number {
  return bytes.length + 2 * (key.length + nextQuery.length) + ENTRY_BYTES;
}
