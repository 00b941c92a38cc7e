import { parseRegistryHost, parseRepositoryName, type RegistryHost } from "@shoal/oci";
import { CodedError, hasCode } from "@shoal/runtime";
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
  /** Asked when no other has what is asked for: the registry itself, where it is not among its endpoints. */
  readonly last: boolean;
}

/**
 * Where a registry is asked, as listed: the endpoints of its settings, then the registry itself unless it
 * is left out or among them. An endpoint is a registry of its own, by its own host: its login, its pauses, and
 * what is written under `registries.<its host>` are its own, and those of the registry never reach it. Pure.
 * @throws ERR_REGISTRY_SETTINGS
 */
export function resolveSources(
  registry: RegistryHost,
  registries: RegistriesSettings,
): readonly Source[] {
  const settings = settingsOf(registry, registries);
  const itself = resolveEndpoint(registry, settings);
  const endpoints = (settings?.endpoints ?? []).map((text, at) => {
    const named = mirrorOf(text, `registries.${registry}.endpoints[${at}]`, registry, registries);
    const isItself = named.endpoint.base.href === itself.base.href && named.namePrefix === "";
    return isItself ? { ...named, endpoint: itself } : named;
  });
  const listed = endpoints.some(({ endpoint }) => endpoint === itself);
  if (settings?.endpointsOnly !== true && !listed)
    return [...endpoints, { endpoint: itself, namePrefix: "", last: true }];
  if (endpoints.length > 0) return endpoints;
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
    return { endpoint: resolveEndpoint(host, own), namePrefix, last: false };
  } catch (cause) {
    if (hasCode(cause, "ERR_REGISTRY_SETTINGS")) throw cause;
    throw new CodedError(
      "ERR_REGISTRY_SETTINGS",
      `${name} names no host and namespace of a registry; write for example https://harbor.lab/v2/hub`,
      { cause, details: { registry } },
    );
  }
}

/** What is written under the registry's name, in whichever way it is spelled. */
export function settingsOf(
  registry: RegistryHost,
  registries: RegistriesSettings,
): RegistrySettings | undefined {
  const found = Object.entries(registries).find(([host]) => parseRegistryHost(host) === registry);
  return found?.[1];
}

/**
 * Whether a machine that reads a registry's content surely has what the registry sent: from itself alone, over
 * TLS with a certificate that is checked. A copy at an endpoint may have rotted. Pure.
 */
export function isReadOverTls(registry: RegistryHost, registries: RegistriesSettings): boolean {
  return resolveSources(registry, registries).every(
    ({ endpoint }) =>
      endpoint.registry === registry &&
      endpoint.base.protocol === "https:" &&
      endpoint.settings.insecureSkipVerify !== true,
  );
}
