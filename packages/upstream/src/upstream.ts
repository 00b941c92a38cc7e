import type { LookupFunction } from "node:net";
import {
  type Digest,
  digestAlgorithm,
  digestOf,
  isDigest,
  isSchema1,
  MANIFEST_ACCEPT,
  MAX_MANIFEST_BYTES,
  parseRegistryHost,
  type Repository,
  schema1Digest,
  type Tag,
} from "@shoal/oci";
import {
  type AbortOptions,
  type Clock,
  CodedError,
  type Logger,
  type MetricsRegister,
} from "@shoal/runtime";
import {
  innerMediaType,
  manifestTooLarge,
  readHead,
  refuseEncoding,
  refusePage,
} from "./answers.ts";
import { createAuthorizer } from "./authorization.ts";
import { createBackOff } from "./back-off.ts";
import { openBlob } from "./blob.ts";
import { createCertificates } from "./certificates.ts";
import { createConnections, type UpstreamTimeouts } from "./connections.ts";
import { anonymous, type Credentials } from "./credentials.ts";
import { isTransient } from "./failures.ts";
import { nextPageQuery } from "./link.ts";
import { createUpstreamMetrics, type RequestOutcome } from "./metrics.ts";
import { contentLength, headerOf, mediaTypeOf, readAll, type WireResponse } from "./receiver.ts";
import { createProxyChoice } from "./proxy.ts";
import {
  at,
  createRegistryRequests,
  type RegistryQuestion,
  type RegistryRequest,
} from "./requests.ts";
import { type RetryPolicy, withRetries } from "./retry.ts";
import type { RegistrySettings } from "./settings.ts";
import { createSources } from "./sources.ts";
import { createTokens, type SendToTokenServer } from "./tokens.ts";
import type {
  ManifestOptions,
  Upstream,
  UpstreamDocument,
  UpstreamHead,
  UpstreamManifest,
} from "./types.ts";

export interface UpstreamComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
  /** Resolves host names. @default `dns.lookup` */
  readonly lookup?: LookupFunction | undefined;
  /** Chance for the jitter of waits, in [0, 1). @default Math.random */
  readonly random?: (() => number) | undefined;
}

export interface UpstreamInit {
  /** Sent with every request: `shoal/1.0`. */
  readonly userAgent: string;
  /** By registry host. An entry, even an empty one, makes that host's address trusted. */
  readonly registries?: Readonly<Record<string, RegistrySettings>> | undefined;
  /** Folders with a folder of certificates for each registry, the first with a client certificate wins. @default none */
  readonly certificateFolders?: readonly string[] | undefined;
  /** Holds `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`: `process.env` outside tests. @default none: no proxy */
  readonly proxyEnvironment?: Readonly<Record<string, string | undefined>> | undefined;
  /** @default none: every registry is asked as nobody */
  readonly credentials?: Credentials | undefined;
  /** Show registries neither a login nor a certificate, as a stranger would ask. @default false */
  readonly asNobody?: boolean | undefined;
  /** Dial private and local addresses for every registry, for sites whose registries are private. @default false */
  readonly allowPrivate?: boolean | undefined;
  /** The file that holds `registries`, for messages. @default "the configuration" */
  readonly configurationFile?: string | undefined;
  readonly timeouts?: UpstreamTimeouts | undefined;
  /** Connections to one host at a time. @default 32 */
  readonly maxConnections?: number | undefined;
  /** Tries of requests whose connection breaks or whose answer is a 5xx, and the first wait. @default 3 tries, 200 ms */
  readonly retry?: RetryPolicy | undefined;
}

const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024;
/** Registries that know no HEAD answer so; the caller asks with GET. */
const NO_HEAD = [400, 405, 501];

/**
 * A client of registries. Makes no connection until it is asked something; disposing closes all.
 * @throws ERR_REGISTRY_SETTINGS when `registries` names an endpoint that is no URL
 * @throws ERR_REGISTRY_INVALID when one of its keys is no registry's host
 */
export function createUpstream(components: UpstreamComponents, init: UpstreamInit): Upstream {
  const { clock, logger, random = Math.random } = components;
  const policy = init.retry ?? { tries: 3, baseMs: 200 };
  const metrics = createUpstreamMetrics(components.metrics);
  const backOff = createBackOff({ clock, logger });
  const connections = createConnections(
    {
      lookup: components.lookup,
      certificates: createCertificates(
        { clock, logger },
        { folders: init.certificateFolders ?? [], asNobody: init.asNobody },
      ),
      proxyFor: createProxyChoice(init.proxyEnvironment ?? {}),
      received: metrics.received,
    },
    {
      userAgent: init.userAgent,
      timeouts: init.timeouts ?? {},
      maxConnections: init.maxConnections ?? 32,
      allowPrivate: init.allowPrivate ?? false,
      configurationFile: init.configurationFile ?? "the configuration",
    },
  );
  const askTokenServer: SendToTokenServer = async (question, request, options) => {
    const startedMs = clock.now();
    let outcome: RequestOutcome = "failed";
    try {
      const response = await connections.send(question.endpoint, request, options);
      const { status, headers } = response;
      if (status === 200) outcome = "ok";
      else if (status === 429) outcome = "rate_limited";
      else if (status < 500) outcome = "unauthorized";
      if (status !== 429) return response;
      response.body.discard();
      throw backOff.begin(question.endpoint.registry, status, headerOf(headers, "retry-after"));
    } finally {
      metrics.answered("token", outcome, (clock.now() - startedMs) / 1000);
    }
  };
  const tokens = createTokens({ clock, send: askTokenServer });
  const credentials = init.asNobody === true ? anonymous : (init.credentials ?? anonymous);
  const authorizer = createAuthorizer({ tokens, credentials });
  const registries = init.registries ?? {};
  const sources = createSources({ clock, logger }, registries);
  const requests = createRegistryRequests({
    clock,
    connections,
    authorizer,
    backOff,
    metrics,
    onAnswer: sources.answered,
  });
  for (const [host, settings] of Object.entries(registries))
    if (settings.insecureSkipVerify === true)
      logger.warn(
        { registry: parseRegistryHost(host) },
        "the certificate of a registry is not checked, as configured",
      );

  function retryable(error: unknown): boolean {
    if (!isTransient(error)) return false;
    logger.debug({ code: error.code, ...error.details }, "a registry's answer is asked for again");
    return true;
  }
  /** Puts a question to the registry's sources until one has answered it, and to all of them again. */
  async function retrying<Result>(
    question: RegistryQuestion,
    attempt: (request: RegistryRequest) => Promise<Result>,
    options: AbortOptions,
  ): Promise<Result> {
    const once = async (): Promise<Result> =>
      await sources.ask(
        question.repository,
        async (target) => await attempt(at(target, question)),
        options,
      );
    return await withRetries({ clock, random }, policy, retryable, once, options);
  }
  async function head(question: RegistryQuestion, options: AbortOptions): Promise<UpstreamHead> {
    const answer = async (request: RegistryRequest): Promise<UpstreamHead> => {
      const response = await requests.send(request, options);
      if (question.kind === "manifest_head") refusePage(request, response);
      return readHead(response);
    };
    return await retrying(question, answer, options);
  }
  async function document(
    question: RegistryQuestion,
    options: AbortOptions,
  ): Promise<UpstreamDocument> {
    const answer = async (request: RegistryRequest): Promise<UpstreamDocument> => {
      const response = await requests.send(request, options);
      refuseEncoding(request, response);
      refusePage(request, response);
      const bytes = await readAll(
        response.body,
        MAX_DOCUMENT_BYTES,
        () =>
          new CodedError(
            "ERR_UPSTREAM_TOO_LONG",
            `${request.endpoint.registry} sent more than ${MAX_DOCUMENT_BYTES} bytes of ${request.subject}; ask for it in pages with n=`,
            { details: { registry: request.endpoint.registry } },
          ),
      );
      const nextQuery = nextPageQuery(headerOf(response.headers, "link"));
      const filtersApplied = headerOf(response.headers, "oci-filters-applied");
      return {
        mediaType: mediaTypeOf(response.headers) ?? "application/json",
        bytes,
        ...(nextQuery === undefined ? {} : { nextQuery }),
        ...(filtersApplied === undefined ? {} : { filtersApplied }),
      };
    };
    return await retrying(question, answer, options);
  }

  return {
    async headManifest(repository, name, options = {}) {
      return await head(manifestRequest("HEAD", repository, name, options), options);
    },
    async manifest(repository, name, options = {}) {
      const question = manifestRequest("GET", repository, name, options);
      const answer = async (request: RegistryRequest): Promise<UpstreamManifest> => {
        const response = await requests.send(request, options);
        refuseEncoding(request, response);
        refusePage(request, response);
        const tooLarge = (): CodedError => manifestTooLarge(request);
        if ((contentLength(response.headers) ?? 0) > MAX_MANIFEST_BYTES) {
          response.body.close();
          throw tooLarge();
        }
        const bytes = await readAll(response.body, MAX_MANIFEST_BYTES, tooLarge);
        const mediaType = mediaTypeOf(response.headers) ?? innerMediaType(bytes);
        const digestBy = isSchema1(mediaType) ? schema1Digest : digestOf;
        const told = headerOf(response.headers, "docker-content-digest") ?? "";
        const expected = isDigest(name) ? name : isDigest(told) ? told : undefined;
        if (expected !== undefined && digestBy(bytes, digestAlgorithm(expected)) !== expected)
          throw new CodedError(
            "ERR_DIGEST_MISMATCH",
            `${repository.registry} sent other bytes for ${request.subject} than those of ${expected}; try again, and distrust what stands before it if it stays so`,
            { details: { registry: repository.registry, digest: expected } },
          );
        const digest = digestBy(bytes, isDigest(name) ? digestAlgorithm(name) : "sha256");
        return { digest, mediaType, bytes };
      };
      return await retrying(question, answer, options);
    },
    async headBlob(repository, digest, options = {}) {
      const question: RegistryQuestion = {
        repository,
        kind: "blob_head",
        method: "HEAD",
        path: `blobs/${digest}`,
        subject: `blob ${digest} of ${repository.name}`,
        pass: NO_HEAD,
      };
      const answer = await head(question, options);
      // Some registries give every HEAD the length of its own empty body.
      if (answer.sizeBytes !== 0 || digest === digestOf(new Uint8Array(), digestAlgorithm(digest)))
        return answer;
      const { sizeBytes: _empty, ...rest } = answer;
      return rest;
    },
    async blob(repository, digest, options = {}) {
      const question: RegistryQuestion = {
        repository,
        kind: "blob",
        method: "GET",
        path: `blobs/${digest}`,
        subject: `blob ${digest} of ${repository.name}`,
      };
      const guarded = {
        async send(sent: RegistryRequest, sendOptions: AbortOptions): Promise<WireResponse> {
          const response = await requests.send(sent, sendOptions);
          refuseEncoding(sent, response);
          return response;
        },
      };
      return await openBlob(
        { clock, random, requests: guarded, sources },
        policy,
        question,
        digest,
        options,
      );
    },
    confirm: sources.confirm,
    reject: sources.reject,
    async tags(repository, query, options = {}) {
      const question: RegistryQuestion = {
        repository,
        kind: "tags",
        method: "GET",
        path: withQuery("tags/list", query),
        subject: `tags of ${repository.name}`,
      };
      return await document(question, options);
    },
    async referrers(repository, digest, query, options = {}) {
      const question: RegistryQuestion = {
        repository,
        kind: "referrers",
        method: "GET",
        path: withQuery(`referrers/${digest}`, query),
        headers: { accept: "application/vnd.oci.image.index.v1+json" },
        subject: `referrers of ${digest} in ${repository.name}`,
      };
      return await document(question, options);
    },
    pause: (registry, forMs) => backOff.pause(registry, forMs),
    health: () => backOff.health(),
    [Symbol.asyncDispose]: () => connections[Symbol.asyncDispose](),
  };
}

function manifestRequest(
  method: "GET" | "HEAD",
  repository: Repository,
  name: Tag | Digest,
  options: ManifestOptions,
): RegistryQuestion {
  const wanted = (options.accept ?? []).filter((type) => !type.trim().startsWith("*/*"));
  const accept = wanted.length > 0 ? wanted : MANIFEST_ACCEPT;
  return {
    repository,
    kind: method === "GET" ? "manifest" : "manifest_head",
    method,
    path: `manifests/${name}`,
    headers: { accept: accept.join(", ") },
    subject: `manifest ${name} of ${repository.name}`,
    ...(method === "HEAD" ? { pass: NO_HEAD } : {}),
  };
}

function withQuery(path: string, query: URLSearchParams): string {
  return query.size === 0 ? path : `${path}?${query.toString()}`;
}
