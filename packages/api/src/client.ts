import type { AbortOptions } from "@shoal/runtime";
import { readEvents } from "./events.ts";
import { createExchange } from "./exchange.ts";
import {
  type ApiEvent,
  type Image,
  ImageListSchema,
  type JoinOutcome,
  JoinOutcomeSchema,
  type JoinRequest,
  type Limits,
  type LimitsChange,
  LimitsSchema,
  type PeerList,
  PeerListSchema,
  type Pull,
  PullListSchema,
  type PullRequest,
  PullSchema,
  type Status,
  StatusSchema,
  TokenSchema,
} from "./schema.ts";
import { createSiteClient, type SiteClient } from "./site-client.ts";
import { createStoreClient, type StoreClient } from "./store-client.ts";

export interface ApiClientInit {
  /** The daemon's Unix socket; see {@link defaultSocketPath}. */
  readonly socketPath: string;
}

export interface EventFilter {
  /** Only this pull's events, beginning with its state now. */
  readonly pull?: string | undefined;
}

/**
 * The daemon, asked over its socket. Every call may throw the daemon's own code, and
 * - ERR_DAEMON_UNREACHABLE: the socket is missing, refuses, or went away in the middle;
 * - ERR_SOCKET_PERMISSION: this user may not open it;
 * - ERR_API_PROTOCOL: what answered is not this version of the API.
 */
export interface ApiClient extends AsyncDisposable {
  readonly store: StoreClient;
  readonly site: SiteClient;
  status(options?: AbortOptions): Promise<Status>;
  peers(options?: AbortOptions): Promise<PeerList>;
  images(options?: AbortOptions): Promise<readonly Image[]>;
  limits(options?: AbortOptions): Promise<Limits>;
  /** Changes limits; those of the uplink for the whole site. */
  setLimits(change: LimitsChange, options?: AbortOptions): Promise<Limits>;
  /** Begins a pull; the answer is its first state, to be followed with {@link events}. */
  startPull(request: PullRequest, options?: AbortOptions): Promise<Pull>;
  pull(id: string, options?: AbortOptions): Promise<Pull>;
  pulls(options?: AbortOptions): Promise<readonly Pull[]>;
  /** Asks for the end of a pull; its `cancelled` state comes as an event. */
  cancelPull(id: string, options?: AbortOptions): Promise<void>;
  /**
   * What happens from now on, connected when the first event is asked for. Ends when the daemon has
   * no more to say; leaving the loop closes the connection.
   */
  events(filter?: EventFilter, options?: AbortOptions): AsyncIterable<ApiEvent>;
  /** The site's token, by which another machine joins. A secret. */
  token(options?: AbortOptions): Promise<string>;
  /** Joins the token's site. @throws ERR_SITE_MEMBER when another would be left without `replace` */
  join(request: JoinRequest, options?: AbortOptions): Promise<JoinOutcome>;
}

/** Connects when first asked something; disposing closes what is open. */
export function createApiClient(init: ApiClientInit): ApiClient {
  const { socketPath } = init;
  const exchange = createExchange(socketPath);
  const pullPath = (id: string): string => `/v1/pulls/${encodeURIComponent(id)}`;

  return {
    store: createStoreClient(exchange),
    site: createSiteClient(exchange),
    status: (options = {}) =>
      exchange.ask({ method: "GET", path: "/v1/status" }, StatusSchema, options),
    peers: (options = {}) =>
      exchange.ask({ method: "GET", path: "/v1/peers" }, PeerListSchema, options),
    async images(options = {}) {
      const request = { method: "GET", path: "/v1/images" } as const;
      return (await exchange.ask(request, ImageListSchema, options)).images;
    },
    limits: (options = {}) =>
      exchange.ask({ method: "GET", path: "/v1/limits" }, LimitsSchema, options),
    setLimits: (body, options = {}) =>
      exchange.ask({ method: "PATCH", path: "/v1/limits", body }, LimitsSchema, options),
    startPull: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/pulls", body }, PullSchema, options),
    pull: (id, options = {}) =>
      exchange.ask({ method: "GET", path: pullPath(id) }, PullSchema, options),
    async pulls(options = {}) {
      const request = { method: "GET", path: "/v1/pulls" } as const;
      return (await exchange.ask(request, PullListSchema, options)).pulls;
    },
    cancelPull: (id, options = {}) =>
      exchange.tell({ method: "DELETE", path: pullPath(id) }, options),
    events(filter = {}, options = {}) {
      const query = filter.pull === undefined ? "" : `?pull=${encodeURIComponent(filter.pull)}`;
      return readEvents(socketPath, `/v1/events${query}`, options.signal);
    },
    async token(options = {}) {
      const request = { method: "GET", path: "/v1/site/token" } as const;
      return (await exchange.ask(request, TokenSchema, options)).token;
    },
    join: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/site/join", body }, JoinOutcomeSchema, options),
    [Symbol.asyncDispose]: () => exchange[Symbol.asyncDispose](),
  };
}
