import {
  type Digest,
  formatRepository,
  parseRegistryHost,
  parseRepositoryName,
  type RegistryHost,
  type Repository,
} from "@shoal/oci";
import { type AbortOptions, type Clock, CodedError, type Logger } from "@shoal/runtime";
import { createBlobGivers } from "./blob-givers.ts";
import { type EndpointsOrder, measure, orderEndpoints, type Pace } from "./endpoint-order.ts";
import { type RegistriesSettings, resolveSources, settingsOf, type Source } from "./endpoints.ts";
import { type RegistryEndpoint, resolveEndpoint } from "./settings.ts";

/** Where one question is put to. */
export interface Target {
  readonly endpoint: RegistryEndpoint;
  /** What is asked for, by the name that it has there. */
  readonly repository: Repository;
}

export interface AskOptions extends AbortOptions {
  /** The blob whose bytes are asked for: who gave wrong ones of it is not asked. */
  readonly blob?: Digest;
}

/** Asks the sources of registries one after the other. */
export interface Sources {
  /**
   * Gives `attempt` one source after the other until one has what is asked for, and whether it is the last.
   * @throws the last one's failure
   */
  ask<Result>(
    repository: Repository,
    attempt: (target: Target, isLast: boolean) => Promise<Result>,
    options: AskOptions,
  ): Promise<Result>;
  /** A source has answered; its headers took that long. */
  answered(endpoint: RegistryEndpoint, firstByteMs: number): void;
  /** An answer of this source was spoiled after it had begun: others are asked first for a while. */
  broke(target: Target, code: string): void;
  /** All bytes of a blob are right. */
  confirm(repository: Repository, digest: Digest): void;
  /** Some bytes of a blob are wrong. @returns whether there is another source to ask for it */
  reject(repository: Repository, digest: Digest): boolean;
}

/** A source that fails rests this long, and each further time twice as long, up to the second figure. */
const FIRST_REST_MS = 5_000;
const LONGEST_REST_MS = 5 * 60_000;
/** Answers about one repository, or pauses that are kept elsewhere: the source itself is well. */
const NO_REST = new Set([
  "ERR_UPSTREAM_NOT_FOUND",
  "ERR_UPSTREAM_UNAUTHORIZED",
  "ERR_UPSTREAM_DENIED",
  "ERR_UPSTREAM_RATE_LIMITED",
]);

interface SourceList {
  readonly sources: readonly Source[];
  readonly order: EndpointsOrder;
}

/** What is known of an endpoint, whichever registries it stands for. */
interface Conduct {
  failures: number;
  restUntilMs: number;
  asking: number;
  pace?: Pace;
}

/** @throws ERR_REGISTRY_SETTINGS */
export function createSources(
  components: { readonly clock: Clock; readonly logger: Logger },
  registries: RegistriesSettings,
): Sources {
  const { clock, logger } = components;
  const givers = createBlobGivers(clock);
  const configured = new Map<RegistryHost, SourceList>();
  const conducts = new Map<string, Conduct>();
  for (const host of Object.keys(registries)) {
    const registry = parseRegistryHost(host);
    const sources = resolveSources(registry, registries);
    const order = settingsOf(registry, registries)?.endpointsOrder ?? "listed";
    configured.set(registry, { sources, order });
    for (const source of sources)
      if (!source.last)
        conducts.set(keyOf(source), {
          failures: 0,
          restUntilMs: Number.NEGATIVE_INFINITY,
          asking: 0,
        });
  }

  function listOf(registry: RegistryHost): SourceList {
    const endpoint = resolveEndpoint(registry, undefined);
    return (
      configured.get(registry) ?? {
        sources: [{ endpoint, namePrefix: "", last: true }],
        order: "listed",
      }
    );
  }

  /** In the order in which they are asked. Those that rest are asked only where there is nobody else. */
  function sourcesFor({ sources, order }: SourceList, blob: string | undefined): Source[] {
    if (sources.length === 1) return [...sources];
    const may = sources.filter(
      (source) => blob === undefined || givers.mayGive(blob, keyOf(source)),
    );
    const endpoints = may.filter(({ last }) => !last);
    const states = endpoints.map((source) => {
      const { restUntilMs, asking, pace } = conducts.get(keyOf(source))!;
      return { restUntilMs, asking: asking > 0, pace };
    });
    const nowMs = clock.now();
    const ordered = orderEndpoints(states, order, nowMs);
    const awake = ordered.filter((at) => states[at]!.restUntilMs <= nowMs);
    const itself = may.filter(({ last }) => last);
    const asked = awake.length + itself.length > 0 ? awake : ordered;
    return [...asked.map((at) => endpoints[at]!), ...itself];
  }

  function rest({ endpoint }: { readonly endpoint: RegistryEndpoint }, code: string): void {
    const conduct = conducts.get(endpoint.base.href);
    if (conduct === undefined) return;
    conduct.failures += 1;
    const forMs = Math.min(FIRST_REST_MS * 2 ** (conduct.failures - 1), LONGEST_REST_MS);
    conduct.restUntilMs = clock.now() + forMs;
    logger.info(
      { endpoint: endpoint.base.host, code, restMs: forMs },
      "an endpoint of a registry fails and is passed over for a while",
    );
  }

  async function askOne<Result>(
    source: Source,
    isLast: boolean,
    repository: Repository,
    attempt: (target: Target, isLast: boolean) => Promise<Result>,
  ): Promise<Result> {
    const conduct = conducts.get(keyOf(source));
    if (conduct === undefined) return await attempt(targetOf(source, repository), isLast);
    conduct.asking += 1;
    try {
      const result = await attempt(targetOf(source, repository), isLast);
      conduct.failures = 0;
      conduct.restUntilMs = Number.NEGATIVE_INFINITY;
      return result;
    } finally {
      conduct.asking -= 1;
    }
  }

  return {
    async ask(repository, attempt, options) {
      const list = listOf(repository.registry);
      const blob = options.blob === undefined ? undefined : blobKey(repository, options.blob);
      const queue = sourcesFor(list, blob);
      for (const source of queue) {
        const isLast = source === queue.at(-1);
        try {
          const result = await askOne(source, isLast, repository, attempt);
          if (blob !== undefined && list.sources.length > 1) givers.gave(blob, keyOf(source));
          return result;
        } catch (error) {
          const isOurs = options.signal?.aborted === true || !(error instanceof CodedError);
          if (isOurs || error.code === "ERR_UPSTREAM_CLOSED") throw error;
          if (!NO_REST.has(error.code)) rest(source, error.code);
          if (isLast) throw error;
        }
      }
      throw new TypeError("a registry without a source");
    },
    answered({ base }, firstByteMs) {
      const conduct = conducts.get(base.href);
      if (conduct !== undefined) conduct.pace = measure(conduct.pace, firstByteMs, clock.now());
    },
    broke: rest,
    confirm(repository, digest) {
      givers.confirm(blobKey(repository, digest));
    },
    reject(repository, digest) {
      const { sources } = listOf(repository.registry);
      const keyed = sources.map((source) => ({ key: keyOf(source), last: source.last }));
      const { blamed, elsewhere } = givers.reject(blobKey(repository, digest), keyed);
      for (const source of sources) {
        if (!blamed.has(keyOf(source))) continue;
        logger.warn(
          { registry: repository.registry, endpoint: source.endpoint.base.host, digest },
          "an endpoint of a registry gave wrong bytes of a blob",
        );
        rest(source, "ERR_DIGEST_MISMATCH");
      }
      return elsewhere;
    },
  };
}

function keyOf({ endpoint }: Source): string {
  return endpoint.base.href;
}

function blobKey(repository: Repository, digest: Digest): string {
  return `${formatRepository(repository)}@${digest}`;
}

/** What a source has of a registry's repository. Pure. */
export function targetOf({ endpoint, namePrefix }: Source, repository: Repository): Target {
  const name = parseRepositoryName(`${namePrefix}${repository.name}`);
  return { endpoint, repository: { registry: endpoint.registry, name } };
}
