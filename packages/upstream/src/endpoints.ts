import {
  parseRegistryHost,
  parseRepositoryName,
  type RegistryHost,
  type Repository,
} from "@shoal/oci";
import { type AbortOptions, type Clock, CodedError, hasCode, type Logger } from "@shoal/runtime";
import {
  parseEndpointUrl,
  type RegistryEndpoint,
  type RegistrySettings,
  resolveEndpoint,
} from "./settings.ts";

export type RegistriesSettings = Readonly<Record<string, RegistrySettings>>;

/** One place where a registry's content can be asked for. */
export interface Source {
  readonly endpoint: RegistryEndpoint;
  /** Before the repository's name there, with its slash: `proxy-hub/` of `https://harbor.lab/v2/proxy-hub`. */
  readonly namePrefix: string;
}

/**
 * Where a registry is asked, in order: the endpoints of its settings, then the registry itself unless it
 * is left out. An endpoint is a registry of its own, by its own host: its login, its pauses, and what is
 * written under `registries.<its host>` are its own, and those of the registry never reach it. Pure.
 * @throws ERR_REGISTRY_SETTINGS
 */
export function resolveSources(
  registry: RegistryHost,
  registries: RegistriesSettings,
): readonly Source[] {
  const settings = settingsOf(registry, registries);
  const itself: Source = { endpoint: resolveEndpoint(registry, settings), namePrefix: "" };
  const endpoints = settings?.endpoints ?? [];
  const mirrors = endpoints.map((text, at) =>
    mirrorOf(text, `registries.${registry}.endpoints[${at}]`, registry, registries),
  );
  if (settings?.endpointsOnly !== true) return [...mirrors, itself];
  if (mirrors.length > 0) return mirrors;
  throw new CodedError(
    "ERR_REGISTRY_SETTINGS",
    `registries.${registry}.endpointsOnly leaves nowhere to ask; name endpoints, or leave it out`,
    { details: { registry } },
  );
}

function mirrorOf(
  text: string,
  name: string,
  registry: RegistryHost,
  registries: RegistriesSettings,
): Source {
  const url = parseEndpointUrl(text, name, registry);
  // Harbor, Nexus and others have their proxies of registries in a namespace.
  const namespace = /\/v2(?:\/(.*?))?\/*$/.exec(url.pathname);
  if (namespace !== null) url.pathname = url.pathname.slice(0, namespace.index);
  try {
    const host = parseRegistryHost(url.host);
    const own = { ...settingsOf(host, registries), endpoint: url.href };
    const namePrefix = namespace?.[1] ? `${parseRepositoryName(namespace[1])}/` : "";
    return { endpoint: resolveEndpoint(host, own), namePrefix };
  } catch (cause) {
    if (hasCode(cause, "ERR_REGISTRY_SETTINGS")) throw cause;
    throw new CodedError(
      "ERR_REGISTRY_SETTINGS",
      `${name} names no host and namespace of a registry; write for example https://harbor.lab/v2/hub`,
      { cause, details: { registry } },
    );
  }
}

function settingsOf(
  registry: RegistryHost,
  registries: RegistriesSettings,
): RegistrySettings | undefined {
  const found = Object.entries(registries).find(([host]) => parseRegistryHost(host) === registry);
  return found?.[1];
}

/** Whether all that a registry's content can come from is read over TLS with a certificate that is checked. Pure. */
export function isReadOverTls(registry: RegistryHost, registries: RegistriesSettings): boolean {
  return resolveSources(registry, registries).every(
    ({ endpoint: { base, settings } }) =>
      base.protocol === "https:" && settings.insecureSkipVerify !== true,
  );
}

/** Where one question is put to. */
export interface Target {
  readonly endpoint: RegistryEndpoint;
  /** What is asked for, by the name that it has there. */
  readonly repository: Repository;
}

/** Asks the sources of registries one after the other. */
export interface Sources {
  /** Gives `attempt` one source after the other until one has what is asked for. @throws the last one's failure */
  ask<Result>(
    repository: Repository,
    attempt: (target: Target) => Promise<Result>,
    options: AbortOptions,
  ): Promise<Result>;
  /** An answer of this source broke off: others are asked first for a while. */
  broke(target: Target): void;
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

/** @throws ERR_REGISTRY_SETTINGS */
export function createSources(
  components: { readonly clock: Clock; readonly logger: Logger },
  registries: RegistriesSettings,
): Sources {
  const { clock, logger } = components;
  const configured = new Map(
    Object.keys(registries).map((host) => {
      const registry = parseRegistryHost(host);
      return [registry, resolveSources(registry, registries)];
    }),
  );
  const mirrors = new Set(
    [...configured.values()].flatMap((sources) =>
      sources.slice(0, -1).map(({ endpoint }) => endpoint.base.href),
    ),
  );
  const rests = new Map<string, { failures: number; untilMs: number }>();

  const sourcesOf = (registry: RegistryHost): readonly Source[] =>
    configured.get(registry) ?? [
      { endpoint: resolveEndpoint(registry, undefined), namePrefix: "" },
    ];
  const targetOf = ({ endpoint, namePrefix }: Source, repository: Repository): Target => ({
    endpoint,
    repository: {
      registry: endpoint.registry,
      name: parseRepositoryName(`${namePrefix}${repository.name}`),
    },
  });

  function rest({ endpoint }: Target, code: string): void {
    const key = endpoint.base.href;
    if (!mirrors.has(key)) return;
    const failures = (rests.get(key)?.failures ?? 0) + 1;
    const forMs = Math.min(FIRST_REST_MS * 2 ** (failures - 1), LONGEST_REST_MS);
    rests.set(key, { failures, untilMs: clock.now() + forMs });
    logger.info(
      { endpoint: endpoint.base.host, code, restMs: forMs },
      "an endpoint of a registry fails and is passed over for a while",
    );
  }

  return {
    async ask(repository, attempt, options) {
      const all = sourcesOf(repository.registry);
      for (const source of all.slice(0, -1)) {
        const key = source.endpoint.base.href;
        if ((rests.get(key)?.untilMs ?? Number.NEGATIVE_INFINITY) > clock.now()) continue;
        const target = targetOf(source, repository);
        try {
          const result = await attempt(target);
          rests.delete(key);
          return result;
        } catch (error) {
          const isOurs = options.signal?.aborted === true || !(error instanceof CodedError);
          if (isOurs || error.code === "ERR_UPSTREAM_CLOSED") throw error;
          if (!NO_REST.has(error.code)) rest(target, error.code);
        }
      }
      return await attempt(targetOf(all.at(-1)!, repository));
    },
    broke(target) {
      rest(target, "ERR_UPSTREAM_TRUNCATED");
    },
  };
}
