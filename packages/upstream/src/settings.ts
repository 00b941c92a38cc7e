import type { RegistryHost } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import type { EndpointsOrder } from "./endpoint-order.ts";
import { parseProxy } from "./proxy.ts";

/** What a site says about one registry, under `registries.<host>` of the configuration. */
export interface RegistrySettings {
  /**
   * Speak HTTP without TLS. @default false, but true for localhost, 127.0.0.0/8 and [::1], as Docker does, where
   * nothing else here is about TLS
   */
  readonly plainHttp?: boolean | undefined;
  /** URL that stands for the registry, with a path prefix where it has one: `http://10.0.0.2:5000`. */
  readonly endpoint?: string | undefined;
  /** URLs that are asked before it: mirrors, accelerators. Each is a registry by its own host. */
  readonly endpoints?: readonly string[] | undefined;
  /** Whether they are asked as listed, or those first whose answers begin soonest. @default listed */
  readonly endpointsOrder?: EndpointsOrder | undefined;
  /** Never ask the registry itself. @default false */
  readonly endpointsOnly?: boolean | undefined;
  /** PEM file of certificate authorities that are trusted for this registry beside the system's. */
  readonly caFile?: string | undefined;
  /** PEM file of the certificate that this machine shows to the registry's own host, and that of its key. */
  readonly clientCertFile?: string | undefined;
  readonly clientKeyFile?: string | undefined;
  /** Accept any certificate of the registry's own host. @default false */
  readonly insecureSkipVerify?: boolean | undefined;
  /** HTTP proxy for all of its requests, whatever the environment says: `http://10.0.0.1:3128`, or `none`. */
  readonly proxy?: string | undefined;
  /** @default 10 */
  readonly connectTimeoutSeconds?: number | undefined;
  /** From a request to its answer's headers. @default 30 */
  readonly headersTimeoutSeconds?: number | undefined;
  /** Of silence in a body. @default 15 */
  readonly idleTimeoutSeconds?: number | undefined;
  /** Its redirects and its token server may lead to private addresses. @default false */
  readonly allowPrivate?: boolean | undefined;
  /** Origins that may hand out its tokens beside its own domain: `https://auth.example.net`. */
  readonly tokenRealms?: readonly string[] | undefined;
}

/** Where a registry is spoken to, and on which terms. */
export interface RegistryEndpoint {
  readonly registry: RegistryHost;
  /** Without a query; its path is the prefix before `/v2/`, without a final slash. */
  readonly base: URL;
  /** Whether the site's configuration names this registry, which makes its address trusted. */
  readonly configured: boolean;
  readonly settings: RegistrySettings;
}

const DOCKER_HUB_NAMES = new Set(["docker.io", "index.docker.io", "registry-1.docker.io"]);

/** Whether `host` is one of Docker Hub's names. */
export function isDockerHub(host: string): boolean {
  return DOCKER_HUB_NAMES.has(host);
}

/** Whether Docker speaks plain HTTP to this URL's host without being told to. */
function isLoopbackName(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
}

/**
 * Finds out where a registry is. Pure.
 * @throws ERR_REGISTRY_SETTINGS when the settings name no usable URL or proxy, or half of a client certificate
 */
export function resolveEndpoint(
  registry: RegistryHost,
  settings: RegistrySettings | undefined,
): RegistryEndpoint {
  const { clientCertFile, clientKeyFile } = settings ?? {};
  if ((clientCertFile === undefined) !== (clientKeyFile === undefined))
    throw new CodedError(
      "ERR_REGISTRY_SETTINGS",
      `registries.${registry} has one of clientCertFile and clientKeyFile alone; name the files of the certificate and of its key, or neither`,
      { details: { registry } },
    );
  if (settings?.proxy !== undefined && settings.proxy !== "none")
    parseProxy(settings.proxy, `registries.${registry}.proxy`);
  const base = baseUrl(registry, settings ?? {});
  base.pathname = base.pathname.replace(/\/+$/, "");
  return { registry, base, configured: settings !== undefined, settings: settings ?? {} };
}

function baseUrl(registry: RegistryHost, settings: RegistrySettings): URL {
  if (settings.endpoint !== undefined)
    return parseEndpointUrl(settings.endpoint, `registries.${registry}.endpoint`, registry);
  const host = isDockerHub(registry) ? "registry-1.docker.io" : registry;
  const url = URL.parse(`https://${host}`);
  if (url === null || url.hostname === "" || url.pathname !== "/")
    throw new CodedError(
      "ERR_REGISTRY_SETTINGS",
      `not a registry host: ${JSON.stringify(registry.slice(0, 160))}; write host or host:port`,
      { details: { registry } },
    );
  const plain = settings.plainHttp ?? (isLoopbackName(url.hostname) && !isAboutTls(settings));
  return plain ? new URL(`http://${host}`) : url;
}

/** Whoever names an authority or a certificate means TLS. */
function isAboutTls({ caFile, clientCertFile, insecureSkipVerify }: RegistrySettings): boolean {
  return caFile !== undefined || clientCertFile !== undefined || insecureSkipVerify === true;
}

/**
 * Parses a URL that stands for a registry.
 * @param name the setting that holds it, for messages
 * @throws ERR_REGISTRY_SETTINGS
 */
export function parseEndpointUrl(text: string, name: string, registry: RegistryHost): URL {
  const url = URL.parse(text);
  const usable =
    url !== null &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === "";
  if (usable) return url;
  throw new CodedError(
    "ERR_REGISTRY_SETTINGS",
    `${name} is not an http:// or https:// URL without credentials and query; write for example http://10.0.0.2:5000`,
    { details: { registry } },
  );
}

/** The URL of a distribution path, such as `/v2/library/alpine/tags/list`. */
export function endpointUrl(endpoint: RegistryEndpoint, path: string): URL {
  const url = new URL(endpoint.base);
  const [pathname, query] = split(path, "?");
  url.pathname = `${endpoint.base.pathname === "/" ? "" : endpoint.base.pathname}${pathname}`;
  url.search = query;
  return url;
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
