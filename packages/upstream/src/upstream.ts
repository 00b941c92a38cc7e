import type { LookupFunction } from "node:net";
import { digestAlgorithm, digestOf, parseRegistryHost } from "@shoal/oci";
import type { AbortOptions, Clock, Logger, MetricsRegister } from "@shoal/runtime";
import { readDocument, readHead, readManifest, refuseEncoding, refusePage } from "./answers.ts";
import { createAuthorizer } from "./authorization.ts";
import { createBackOff } from "./back-off.ts";
import { openBlob } from "./blob.ts";
import { createCertificates } from "./certificates.ts";
import { createConnections, type UpstreamTimeouts } from "./connections.ts";
import { anonymous, type Credentials } from "./credentials.ts";
import { isTransient } from "./failures.ts";
import { createUpstreamMetrics, type RequestOutcome } from "./metrics.ts";
import { createProxyChoice } from "./proxy.ts";
import { blobQuestion, manifestQuestion, referrersQuestion, tagsQuestion } from "./questions.ts";
import { headerOf, type WireResponse } from "./receiver.ts";
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
import type { Upstream, UpstreamHead } from "./types.ts";

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
  async function asked<Answer>(
    question: RegistryQuestion,
    read: (request: RegistryRequest, response: WireResponse) => Answer | Promise<Answer>,
    options: AbortOptions,
  ): Promise<Answer> {
    const once = async (): Promise<Answer> =>
      await sources.ask(
        question.repository,
        async (target) => {
          const request = at(target, question);
          return await read(request, await requests.send(request, options));
        },
        options,
      );
    return await withRetries({ clock, random }, policy, retryable, once, options);
  }

  return {
    async headManifest(repository, name, options = {}) {
      const question = manifestQuestion("HEAD", repository, name, options.accept);
      const read = (request: RegistryRequest, response: WireResponse): UpstreamHead => {
        refusePage(request, response);
        return readHead(response);
      };
      return await asked(question, read, options);
    },
    async manifest(repository, name, options = {}) {
      const question = manifestQuestion("GET", repository, name, options.accept);
      const wanted = { registry: repository.registry, name };
      return await asked(
        question,
        async (request, response) => await readManifest(request, response, wanted),
        options,
      );
    },
    async headBlob(repository, digest, options = {}) {
      const question = blobQuestion("HEAD", repository, digest);
      const answer = await asked(question, (_request, response) => readHead(response), options);
      // Some registries give every HEAD the length of its own empty body.
      if (answer.sizeBytes !== 0 || digest === digestOf(new Uint8Array(), digestAlgorithm(digest)))
        return answer;
      const { sizeBytes: _empty, ...rest } = answer;
      return rest;
    },
    async blob(repository, digest, options = {}) {
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
        blobQuestion("GET", repository, digest),
        digest,
        options,
      );
    },
    confirm: sources.confirm,
    reject: sources.reject,
    async tags(repository, query, options = {}) {
      return await asked(tagsQuestion(repository, query), readDocument, options);
    },
    async referrers(repository, digest, query, options = {}) {
      return await asked(referrersQuestion(repository, digest, query), readDocument, options);
    },
    pause: (registry, forMs) => backOff.pause(registry, forMs),
    health: () => backOff.health(),
    [Symbol.asyncDispose]: () => connections[Symbol.asyncDispose](),
  };
}
