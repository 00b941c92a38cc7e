import { lookup as dnsLookup } from "node:dns";
import type { LookupFunction } from "node:net";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { type AbortOptions, CodedError, raceSignal } from "@shoal/runtime";
import { buildConnector, Pool } from "undici";
import { forbiddenAddress, guardLookup, isPublicAddress, literalAddress } from "./address.ts";
import type { Certificates, OwnCertificates } from "./certificates.ts";
import { networkFailure } from "./failures.ts";
import { createReceiver, type WireResponse } from "./receiver.ts";
import type { ChooseProxy, Proxy } from "./proxy.ts";
import type { RegistryEndpoint } from "./settings.ts";
import { proxyRefusal, proxyUnreachable, tunnelThrough } from "./tunnel.ts";

/** How long silence is borne. */
export interface UpstreamTimeouts {
  /** @default 10_000 */
  readonly connectMs?: number | undefined;
  /** From the request to the response's headers. @default 30_000 */
  readonly headersMs?: number | undefined;
  /** Between two chunks of a body. @default 15_000 */
  readonly idleMs?: number | undefined;
}

export interface ConnectionsInit {
  readonly userAgent: string;
  readonly timeouts: UpstreamTimeouts;
  /** Connections to one origin at a time. */
  readonly maxConnections: number;
  /** Whether private addresses are dialled for every registry. */
  readonly allowPrivate: boolean;
  /** Named to people who are to change it. */
  readonly configurationFile: string;
}

interface WireRequest {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Sends single requests on behalf of a registry, over connections that it keeps. */
export interface Connections extends AsyncDisposable {
  /** The signal stops the body, too. @throws the network codes of `Upstream`, and ERR_UPSTREAM_CLOSED */
  send(
    endpoint: RegistryEndpoint,
    request: WireRequest,
    options?: AbortOptions,
  ): Promise<WireResponse>;
}

/** How a request leaves: the connections, and the proxy behind them where one is. */
interface Route {
  readonly pool: Pool;
  readonly proxy: Proxy | undefined;
}

const NO_CERTIFICATES: OwnCertificates = { authorities: [], version: "" };

/** A registry may redirect to ever new hosts; connections to more than this many are not kept. */
const MAX_POOLS = 64;

export function createConnections(
  components: {
    readonly lookup?: LookupFunction | undefined;
    readonly certificates: Certificates;
    readonly proxyFor: ChooseProxy;
    readonly received: (bytes: number) => void;
  },
  init: ConnectionsInit,
): Connections {
  const lookup: LookupFunction = components.lookup ?? dnsLookup;
  const { timeouts } = init;
  const pools = new Map<string, Pool>();
  let closed: CodedError | undefined;
  let publicContext: SecureContext | undefined;

  function isTrusted(endpoint: RegistryEndpoint, url: URL): boolean {
    const { settings, base } = endpoint;
    return (
      init.allowPrivate ||
      settings.allowPrivate === true ||
      (endpoint.configured && url.hostname === base.hostname) ||
      (settings.tokenRealms ?? []).some((realm) => URL.parse(realm)?.origin === url.origin)
    );
  }

  function refusalOf(endpoint: RegistryEndpoint, url: URL, hostname: string): CodedError {
    return forbiddenAddress({
      registry: endpoint.registry,
      hostname,
      isRegistry: url.hostname === endpoint.base.hostname,
      speaksTls: url.protocol === "https:",
      configurationFile: init.configurationFile,
    });
  }

  function secureContext(own: OwnCertificates, isRegistry: boolean): SecureContext {
    if (own.version === "") {
      // Parsing a few hundred certificates takes milliseconds, too long for each connection.
      publicContext ??= createSecureContext({ ca: systemAuthorities() });
      return publicContext;
    }
    // Neither a CDN nor a token server elsewhere is to learn who this machine is.
    const client = isRegistry ? own.client : undefined;
    return createSecureContext({ ca: [...systemAuthorities(), ...own.authorities], ...client });
  }

  /** How connections of a pool are made: straight, to a proxy, or through one to what is behind it. */
  function connectorFor(
    endpoint: RegistryEndpoint,
    url: URL,
    trusted: boolean,
    certificates: OwnCertificates | undefined,
    proxy: Proxy | undefined,
  ): buildConnector.connector {
    const { settings } = endpoint;
    const timeout = milliseconds(settings.connectTimeoutSeconds) ?? timeouts.connectMs ?? 10_000;
    const isRegistry = url.hostname === endpoint.base.hostname;
    const common = { allowH2: false, timeout };
    const tls =
      certificates === undefined
        ? {}
        : {
            secureContext: secureContext(certificates, isRegistry),
            rejectUnauthorized: !(isRegistry && settings.insecureSkipVerify === true),
          };
    if (proxy === undefined) {
      // A proxy looks names up itself, so that only here an address can be checked after DNS.
      const refuse = (hostname: string): Error => refusalOf(endpoint, url, hostname);
      const guarded = trusted ? lookup : guardLookup(lookup, refuse);
      return buildConnector({ ...common, ...tls, lookup: guarded });
    }
    const overTls = proxy.url.protocol === "https:";
    const toProxy = buildConnector({
      ...common,
      lookup,
      ...(overTls ? { secureContext: secureContext(certificates ?? NO_CERTIFICATES, false) } : {}),
    });
    if (certificates === undefined) return toProxy;
    const overTunnel = buildConnector({ ...common, ...tls });
    return tunnelThrough(proxy, { toProxy, overTunnel }, timeout);
  }

  function openPool(
    endpoint: RegistryEndpoint,
    url: URL,
    trusted: boolean,
    certificates: OwnCertificates | undefined,
    proxy: Proxy | undefined,
  ): Pool {
    const { headersTimeoutSeconds, idleTimeoutSeconds } = endpoint.settings;
    const asked = certificates === undefined ? proxy : undefined;
    return new Pool(asked?.url.origin ?? url.origin, {
      connections: init.maxConnections,
      // More than Node's 4 s, for the pauses between one layer and the next.
      keepAliveTimeout: 15_000,
      headersTimeout: milliseconds(headersTimeoutSeconds) ?? timeouts.headersMs ?? 30_000,
      bodyTimeout: milliseconds(idleTimeoutSeconds) ?? timeouts.idleMs ?? 15_000,
      connect: keepingFirstError(connectorFor(endpoint, url, trusted, certificates, proxy)),
    });
  }

  async function routeFor(endpoint: RegistryEndpoint, url: URL): Promise<Route> {
    const trusted = isTrusted(endpoint, url);
    const literal = literalAddress(url.hostname);
    if (!trusted && literal !== undefined && !isPublicAddress(literal))
      throw refusalOf(endpoint, url, url.hostname);
    const certificates =
      url.protocol === "https:" ? await components.certificates.of(endpoint) : undefined;
    if (closed !== undefined) throw closed;
    // What one registry's settings permit must not serve another's requests.
    const own =
      certificates?.version || Object.values(endpoint.settings).some((value) => value !== undefined)
        ? `${endpoint.registry} ${certificates?.version ?? ""}`
        : "";
    const proxy = components.proxyFor(url, endpoint.settings.proxy);
    const key = `${url.origin} ${trusted} ${proxy?.url.origin ?? ""} ${own}`;
    const pool = pools.get(key) ?? openPool(endpoint, url, trusted, certificates, proxy);
    pools.delete(key);
    pools.set(key, pool);
    const oldest = pools.entries().next().value;
    if (pools.size > MAX_POOLS && oldest !== undefined) {
      pools.delete(oldest[0]);
      void oldest[1].close();
    }
    return { pool, proxy };
  }

  return {
    async send(endpoint, request, options = {}) {
      options.signal?.throwIfAborted();
      if (closed !== undefined) throw closed;
      const { url } = request;
      const context = {
        registry: endpoint.registry,
        host: url.host,
        plainHttp: url.protocol === "http:",
      };
      const { pool, proxy } = await raceSignal(routeFor(endpoint, url), options.signal);
      // Over TLS the proxy is behind the connection; else it is who is asked, by whole URLs.
      const asked = url.protocol === "http:" ? proxy : undefined;
      const receiver = createReceiver(
        options.signal,
        (error) =>
          asked === undefined || error instanceof CodedError
            ? networkFailure(error, context)
            : proxyUnreachable(asked, error),
        components.received,
      );
      pool.dispatch(
        {
          origin: asked?.url.origin ?? url.origin,
          method: request.method,
          path: `${asked === undefined ? "" : url.origin}${url.pathname}${url.search}`,
          headers: {
            "user-agent": init.userAgent,
            // Some registries gzip blobs, whose digest is that of the bytes before.
            "accept-encoding": "identity",
            ...request.headers,
            ...(asked === undefined ? {} : { host: url.host }),
            ...(asked?.authorization === undefined
              ? {}
              : { "proxy-authorization": asked.authorization }),
          },
          body: request.body ?? null,
        },
        receiver.handler,
      );
      const response = await receiver.response;
      if (asked === undefined || response.status !== 407) return response;
      response.body.discard();
      throw proxyRefusal(asked, url.host, response.status);
    },
    async [Symbol.asyncDispose]() {
      const gone = new CodedError(
        "ERR_UPSTREAM_CLOSED",
        "the registry client is closed; whoever closed it must make another one",
      );
      closed = gone;
      const open = [...pools.values()];
      pools.clear();
      await Promise.all(open.map(async (pool) => await pool.destroy(gone)));
    },
  };
}

function systemAuthorities(): string[] {
  return [...getCACertificates("default"), ...getCACertificates("system")];
}

function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
}

/**
 * TLS 1.3 tells of a refused client certificate after the handshake, and closes; undici would report the
 * closing in place of the alert.
 */
function keepingFirstError(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect(options, (...[error, socket]) => {
      if (error !== null) return callback(error, null);
      socket.on("error", (first) => socket.destroy(first));
      return callback(null, socket);
    });
}
