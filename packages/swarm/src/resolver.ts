import {
  type Digest,
  formatRepository,
  isDigest,
  isSchema1,
  type Repository,
  type Tag,
} from "@shoal/oci";
import {
  type AbortOptions,
  type Clock,
  CodedError,
  createCoalescer,
  deadline,
  hasCode,
  type Logger,
} from "@shoal/runtime";
import { isPassing, type Upstream } from "@shoal/upstream";
import type { Manifest, Manifests } from "./manifests.ts";
import type { Origins } from "./origins.ts";
import { rank } from "./rendezvous.ts";
import { acceptKey, acceptOf, type Question, type Resolutions } from "./resolutions.ts";
import type { SiteRecords, SiteResolution } from "./site-records.ts";
import type { PeerIdString, PeerTransport } from "./transport.ts";
import type { Resolution, ResolveOptions } from "./types.ts";

export interface ResolverSettings {
  /** A tag's resolution is used without asking again for this long. Milliseconds. @default 60_000 */
  readonly freshMs: number;
  /** With the upstream out of reach a resolution is used up to this age. Milliseconds. @default 30 days */
  readonly staleMaxMs: number;
}

export const resolverDefaults: ResolverSettings = {
  freshMs: 60_000,
  staleMaxMs: 30 * 24 * 3600 * 1000,
};

/** A member that was asked to ask the upstream has this long. Milliseconds. */
const SITE_FETCH_MS = 10_000;
/** With something stale to fall back to, the upstream has this long; with members that may, longer. Milliseconds. */
const OWN_FALLBACK_MS = 8000;
const SITE_FALLBACK_MS = 15_000;
/** Members that keep a resolution. */
const KEEPERS = 3;
/** Members that are asked whether they know a digest before the upstream is. */
const KNOWN_ASKED = 8;

export interface ResolverComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly upstream: Pick<Upstream, "manifest" | "headManifest">;
  readonly manifests: Manifests;
  readonly resolutions: Resolutions;
  readonly site: SiteRecords;
  readonly mayShare: (repository: Repository) => boolean;
  /** Whether each member asks the registry for itself. */
  readonly provesAccess: (repository: Repository) => boolean;
  readonly origins: Pick<Origins, "arriving" | "hides" | "confirmed">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Finds out what tags and digests name, once for the site. */
export interface Resolver {
  /** @throws what Upstream throws, when neither the site nor the upstream can answer */
  resolve(
    repository: Repository,
    name: Tag | Digest,
    options?: ResolveOptions,
  ): Promise<Resolution>;
  /** For a member's question: what this member knows, or after asking the upstream. */
  answer(
    repository: Repository,
    question: Question,
    lookup: "known" | "fetch",
    options?: AbortOptions,
  ): Promise<SiteResolution | undefined>;
}

export function createResolver(
  components: ResolverComponents,
  settings: ResolverSettings = resolverDefaults,
): Resolver {
  const { transport, upstream, manifests, resolutions, site, mayShare, logger } = components;
  const { origins, provesAccess } = components;
  const questions = createCoalescer<Resolution>();
  const fetches = createCoalescer<SiteResolution>();

  function ranked(question: Question): PeerIdString[] {
    const key = `${question.repository}:${question.name}`;
    return rank([transport.self, ...transport.members()], key);
  }

  /** Known from elsewhere alone, it has to take the way that it would take if it weren't here. */
  function isHidden(repository: Repository, { name }: Question): boolean {
    return isDigest(name) && origins.hides(name, repository);
  }

  /** What this member has of it, of whatever age. What can't be read is not known: others can still be asked. */
  async function known(question: Question): Promise<SiteResolution | undefined> {
    try {
      return await readKnown(question);
    } catch (error) {
      logger.warn({ error, repository: question.repository }, "a manifest could not be read");
      return undefined;
    }
  }

  async function readKnown(question: Question): Promise<SiteResolution | undefined> {
    if (isDigest(question.name)) {
      const manifest = await manifests.get(question.name);
      return manifest && { manifest, ageMs: 0 };
    }
    const record = await resolutions.get(question);
    const manifest = record && (await manifests.get(record.digest));
    // The type is the record's: a registry may give one set of bytes two of them.
    return (
      manifest && { manifest: { ...manifest, mediaType: record.mediaType }, ageMs: record.ageMs }
    );
  }

  async function keep(
    repository: Repository,
    question: Question,
    { manifest, ageMs }: SiteResolution,
  ): Promise<void> {
    try {
      await origins.arriving(manifest.digest, repository);
    } catch (error) {
      logger.warn({ error }, "where a manifest is from could not be noted, and it is not kept");
      return;
    }
    await manifests.put(manifest);
    if (isDigest(question.name)) return;
    try {
      await resolutions.put(question, manifest, ageMs);
    } catch (error) {
      logger.warn({ error }, "what a tag names could not be kept");
    }
  }

  /** Asks the upstream, once for all who ask this member. */
  async function fetch(
    repository: Repository,
    question: Question,
    options: AbortOptions,
  ): Promise<SiteResolution> {
    return await fetches.run(
      [question.repository, question.name, ...question.accept].join(" "),
      async (signal) => {
        const manifest = await fetchManifest(repository, question, signal);
        const resolution = { manifest, ageMs: 0 };
        // Its digest is not that of its bytes, so that it can be no blob of the store.
        if (isSchema1(manifest.mediaType)) return resolution;
        await keep(repository, question, resolution);
        if (mayShare(repository) && !provesAccess(repository)) {
          const keepers = ranked(question).slice(0, KEEPERS);
          site.keepAt(
            keepers.filter((peer) => peer !== transport.self),
            question,
            resolution,
          );
        }
        return resolution;
      },
      options,
    );
  }

  async function fetchManifest(
    repository: Repository,
    question: Question,
    signal: AbortSignal,
  ): Promise<Manifest> {
    const accept = acceptOf(question.accept);
    const name = question.name as Tag | Digest;
    const before = isDigest(name) ? undefined : await known(question);
    if (before !== undefined) {
      // Registries count GETs, not HEADs.
      const head = await upstream
        .headManifest(repository, name, { accept, signal })
        .catch((error: unknown) => {
          // Some answer HEAD otherwise than GET; the GET's answer counts.
          if (hasCode(error, "ERR_UPSTREAM_NOT_FOUND", "ERR_UPSTREAM_DENIED")) return undefined;
          throw error;
        });
      if (head?.digest === before.manifest.digest) return before.manifest;
    }
    return await upstream.manifest(repository, name, { accept, signal });
  }

  function fresh(question: Question, found: SiteResolution): boolean {
    return isDigest(question.name) || found.ageMs < settings.freshMs;
  }

  /** The answer of the member that resolves this for the site, where that is another one. */
  async function askSite(
    question: Question,
    options: AbortOptions,
  ): Promise<SiteResolution | undefined> {
    const order = ranked(question);
    if (isDigest(question.name)) {
      const found = await site.askKnown(order.slice(0, KNOWN_ASKED), question, options);
      if (found !== undefined) return found;
    }
    for (const peer of order.slice(0, 2)) {
      if (peer === transport.self) return undefined;
      try {
        return await site.ask(peer, question, "fetch", SITE_FETCH_MS, options);
      } catch (error) {
        options.signal?.throwIfAborted();
        // Its upstream said no: what it may not have, this machine may.
        if (hasCode(error, "ERR_PEER_REFUSED")) return undefined;
        logger.debug({ error, peer }, "a resolver does not answer");
      }
    }
    return undefined;
  }

  async function resolveOnce(
    repository: Repository,
    question: Question,
    alone: boolean,
    signal: AbortSignal,
  ): Promise<Resolution> {
    const hidden = isHidden(repository, question);
    const own = hidden ? undefined : await known(question);
    if (own !== undefined && fresh(question, own)) return toResolution(own, false, "store");
    const shared = !alone && mayShare(repository) && transport.members().length > 0;
    if (shared) {
      const found = await askSite(question, { signal });
      if (found !== undefined && !hidden && fresh(question, found)) {
        await keep(repository, question, found);
        return toResolution(found, false, "site");
      }
    }
    try {
      const limitMs = own === undefined ? SITE_FALLBACK_MS : OWN_FALLBACK_MS;
      const limit = own !== undefined || shared ? deadline(limitMs, signal) : signal;
      const found = await fetch(repository, question, { signal: limit });
      if (hidden) await origins.confirmed(found.manifest.digest, repository);
      return toResolution(found, false, "upstream");
    } catch (failure) {
      signal.throwIfAborted();
      const error = isTimeout(failure) ? upstreamTimeout(repository, failure) : failure;
      if (!isPassing(error)) throw error;
      const others = shared
        ? await site.askKnown(ranked(question), question, { signal })
        : undefined;
      const newest = newer(own, others);
      if (newest === undefined || hidden || newest.ageMs > settings.staleMaxMs) throw error;
      if (newest !== own) await keep(repository, question, newest);
      logger.info({ error, repository: question.repository }, "the registry can't be asked");
      return toResolution(newest, !isDigest(question.name), newest === own ? "store" : "site");
    }
  }

  return {
    async resolve(repository, name, options = {}) {
      const question: Question = {
        repository: formatRepository(repository),
        name,
        accept: isDigest(name) ? ["*"] : acceptKey(options.accept),
      };
      options.signal?.throwIfAborted();
      // By far the most questions: whoever else asks, there is nothing to wait for together.
      const own = isHidden(repository, question) ? undefined : await known(question);
      if (own !== undefined && fresh(question, own)) return toResolution(own, false, "store");
      const { alone = false } = options;
      return await questions.run(
        [alone, question.repository, question.name, ...question.accept].join(" "),
        async (signal) => await resolveOnce(repository, question, alone, signal),
        options,
      );
    },
    async answer(repository, question, lookup, options = {}) {
      const own = await known(question);
      // Nobody's login serves another where each has to show its own.
      if (lookup === "known" || provesAccess(repository)) return own;
      if (own !== undefined && fresh(question, own)) return own;
      const found = await fetch(repository, question, options);
      return isSchema1(found.manifest.mediaType) ? undefined : found;
    },
  };
}

function toResolution(
  { manifest, ageMs }: SiteResolution,
  stale: boolean,
  from: Resolution["from"],
): Resolution {
  return { ...manifest, ageMs, stale, from };
}

function newer(
  a: SiteResolution | undefined,
  b: SiteResolution | undefined,
): SiteResolution | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return b.ageMs < a.ageMs ? b : a;
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}

function upstreamTimeout(
  repository: Repository,
  cause: unknown,
): CodedError<"ERR_UPSTREAM_TIMEOUT"> {
  return new CodedError(
    "ERR_UPSTREAM_TIMEOUT",
    `${repository.registry} does not answer in time; look at the way to it, and try again`,
    { cause },
  );
}
