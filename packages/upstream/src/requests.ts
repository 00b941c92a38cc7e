import type { Repository } from "@shoal/oci";
import { type AbortOptions, type Clock, CodedError } from "@shoal/runtime";
import type { Authorization, Authorizer } from "./authorization.ts";
import type { BackOff } from "./back-off.ts";
import type { Connections } from "./connections.ts";
import { readErrorBody, statusFailure } from "./failures.ts";
import { outcomeOf, type RequestKind, type UpstreamMetrics } from "./metrics.ts";
import { readPullLimit } from "./pull-limit.ts";
import { headerOf, mediaTypeOf, readAll, type WireResponse } from "./receiver.ts";
import { endpointUrl, type RegistryEndpoint } from "./settings.ts";
import type { Target } from "./sources.ts";

export interface RegistryRequest {
  readonly endpoint: RegistryEndpoint;
  readonly repository: Repository;
  readonly kind: RequestKind;
  readonly method: "GET" | "HEAD";
  /** From `/v2/` on, with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What is asked for, for messages: `manifest v1 of library/alpine`. */
  readonly subject: string;
  /** Statuses beside 2xx that are handed back instead of thrown. */
  readonly pass?: readonly number[];
}

/** What is asked of whatever stands for a registry: its path is one within the repository, `manifests/v1`. */
export type RegistryQuestion = Omit<RegistryRequest, "endpoint">;

/** The request that puts a question to one of the places that can answer it. Pure. */
export function at({ endpoint, repository }: Target, question: RegistryQuestion): RegistryRequest {
  return { ...question, endpoint, repository, path: `/v2/${repository.name}/${question.path}` };
}

/** Asks a registry once: with authorization, along redirects, its refusals turned into errors. */
export interface RegistryRequests {
  send(request: RegistryRequest, options: AbortOptions): Promise<WireResponse>;
}

const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MAX_ERROR_BYTES = 16 * 1024;
/** Answers about one repository, by a registry that is well. */
const WELL = new Set([
  "ERR_UPSTREAM_NOT_FOUND",
  "ERR_UPSTREAM_UNAUTHORIZED",
  "ERR_UPSTREAM_DENIED",
]);

export function createRegistryRequests(components: {
  readonly clock: Clock;
  readonly connections: Connections;
  readonly authorizer: Authorizer;
  readonly backOff: BackOff;
  readonly metrics: UpstreamMetrics;
  /** The headers of a good answer have come, so long after they were asked for. */
  readonly onAnswer: (endpoint: RegistryEndpoint, firstByteMs: number) => void;
}): RegistryRequests {
  const { clock, connections, authorizer, backOff, metrics, onAnswer } = components;

  async function follow(
    request: RegistryRequest,
    authorization: Authorization | undefined,
    options: AbortOptions,
  ): Promise<{ response: WireResponse; url: URL; crossed: boolean }> {
    const { endpoint, method } = request;
    const headers: Record<string, string> = { ...request.headers };
    if (authorization !== undefined) headers["authorization"] = authorization.header;
    let url = endpointUrl(endpoint, request.path);
    let crossed = false;
    for (let hops = 0; ; hops += 1) {
      const response = await connections.send(endpoint, { method, url, headers }, options);
      const location = headerOf(response.headers, "location");
      if (!REDIRECTS.has(response.status) || location === undefined)
        return { response, url, crossed };
      response.body.discard();
      const next = redirectTarget(endpoint, url, location, hops);
      if (next.origin !== url.origin) {
        // A CDN must not see the login, and S3 answers 400 to it. It stays off even on the way back.
        delete headers["authorization"];
        crossed = true;
      }
      url = next;
    }
  }

  async function attempt(request: RegistryRequest, options: AbortOptions): Promise<WireResponse> {
    const { endpoint, repository } = request;
    backOff.check(endpoint.registry);
    let authorization = await authorizer.current(endpoint, repository, options);
    let renewed = false;
    let askedAgain = false;
    for (;;) {
      const askedMs = clock.now();
      const { response, url, crossed } = await follow(request, authorization, options);
      const firstByteMs = clock.now() - askedMs;
      const { status, headers } = response;
      const retryAfter = headerOf(headers, "retry-after");
      const limit = crossed ? undefined : readPullLimit(headers);
      if (limit !== undefined) {
        backOff.allowed(endpoint.registry, limit);
        metrics.pullsAllowed(endpoint.registry, limit);
      }
      if (status === 429 || (status === 503 && retryAfter !== undefined)) {
        response.body.discard();
        throw backOff.begin(endpoint.registry, status, retryAfter);
      }
      // ECR Public tells of an expired token by a 400, ECR of a login that has ended by a 403.
      const expired =
        authorization !== undefined &&
        status === (authorization.question === undefined ? 403 : 400);
      if (!crossed && !renewed && (status === 401 || expired)) {
        const had = authorization;
        const challenge = headerOf(headers, "www-authenticate");
        const next = await authorizer
          .renew(endpoint, repository, authorization, expired ? undefined : challenge, options)
          .catch((error: unknown) => {
            response.body.discard();
            throw error;
          });
        // A first login by Basic may have ended; a token is new.
        renewed = had !== undefined || next?.question !== undefined;
        if (next !== undefined) {
          response.body.discard();
          authorization = next;
          continue;
        }
      }
      if (crossed && !askedAgain && status === 403) {
        // A signed URL has expired: the registry signs a new one.
        response.body.discard();
        askedAgain = true;
        continue;
      }
      const good = status >= 200 && status < 300;
      if (good) onAnswer(endpoint, firstByteMs);
      if (good || request.pass?.includes(status) === true) return response;
      const html = mediaTypeOf(headers) === "text/html";
      const said = await readError(response);
      const context = {
        registry: endpoint.registry,
        host: url.host,
        plainHttp: url.protocol === "http:",
      };
      throw statusFailure(status, request.subject, context, {
        said,
        html,
        loggedIn: authorization?.loggedIn === true,
      });
    }
  }

  return {
    async send(request, options) {
      const startedMs = clock.now();
      const { registry } = request.endpoint;
      const seconds = (): number => (clock.now() - startedMs) / 1000;
      try {
        const response = await attempt(request, options);
        metrics.answered(request.kind, "ok", seconds());
        backOff.succeeded(registry);
        return response;
      } catch (error) {
        if (options.signal?.aborted === true || !(error instanceof CodedError)) {
          metrics.answered(request.kind, "cancelled", seconds());
          throw error;
        }
        metrics.answered(request.kind, outcomeOf(error.code), seconds());
        if (WELL.has(error.code)) backOff.succeeded(registry);
        else backOff.failed(registry, error.code);
        throw error;
      }
    },
  };
}

/** @throws ERR_UPSTREAM_REDIRECT */
function redirectTarget(
  endpoint: RegistryEndpoint,
  from: URL,
  location: string,
  hops: number,
): URL {
  const refuse = (problem: string): CodedError =>
    new CodedError(
      "ERR_UPSTREAM_REDIRECT",
      `${endpoint.registry} ${problem}; its operator must repair that`,
      { details: { registry: endpoint.registry, host: from.host } },
    );
  if (hops >= MAX_REDIRECTS) throw refuse(`redirects more than ${MAX_REDIRECTS} times`);
  const next = URL.parse(location, from.href);
  if (next === null || (next.protocol !== "https:" && next.protocol !== "http:"))
    throw refuse("redirects to something that is no web address");
  if (from.protocol === "https:" && next.protocol === "http:")
    throw refuse(`redirects from TLS to plain HTTP at ${next.host}, which is not followed`);
  if (next.username !== "" || next.password !== "")
    throw refuse("redirects to a URL with a login in it, which is not followed");
  return next;
}

async function readError(response: WireResponse): Promise<string | undefined> {
  try {
    const bytes = await readAll(response.body, MAX_ERROR_BYTES, () => new Error("too long"));
    return readErrorBody(Buffer.from(bytes).toString("utf8"));
  } catch {
    // The status is what counts; its explanation is only of use when it can be read.
    return undefined;
  }
}
