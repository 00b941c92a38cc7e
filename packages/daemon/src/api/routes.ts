import {
  type Image,
  type JoinOutcome,
  type JoinRequest,
  JoinRequestSchema,
  type Limits,
  type LimitsChange,
  LimitsChangeSchema,
  type PeerList,
  type PullRequest,
  PullRequestSchema,
  type Status,
} from "@shoal/api";
import { CodedError } from "@shoal/runtime";
import type { Pulls } from "../pulls.ts";
import type { ApiRoute } from "./server.ts";

export interface RoutesComponents {
  readonly pulls: Pulls;
  readonly status: () => Promise<Status>;
  readonly peers: () => PeerList;
  readonly images: () => Promise<readonly Image[]>;
  readonly limits: () => Limits;
  readonly setLimits: (change: LimitsChange) => void;
  /** The site's token, made now if there is none. */
  readonly token: () => Promise<string>;
  readonly join: (request: JoinRequest) => Promise<JoinOutcome>;
}

/** The paths of version 1. */
export function createRoutes(components: RoutesComponents): ApiRoute[] {
  const { pulls } = components;
  const noPull = (id: string): CodedError =>
    new CodedError("ERR_PULL_NOT_FOUND", `there is no pull ${id}; see shoal pulls`);
  return [
    {
      method: "GET",
      path: /^\/v1\/status$/,
      answer: async () => ({ status: 200, body: await components.status() }),
    },
    {
      method: "GET",
      path: /^\/v1\/peers$/,
      answer: async () => ({ status: 200, body: components.peers() }),
    },
    {
      method: "GET",
      path: /^\/v1\/limits$/,
      answer: async () => ({ status: 200, body: components.limits() }),
    },
    {
      method: "PATCH",
      path: /^\/v1\/limits$/,
      body: LimitsChangeSchema,
      async answer(_groups, body) {
        components.setLimits(body as LimitsChange);
        return { status: 200, body: components.limits() };
      },
    },
    {
      method: "GET",
      path: /^\/v1\/images$/,
      answer: async () => ({ status: 200, body: { images: await components.images() } }),
    },
    {
      method: "GET",
      path: /^\/v1\/pulls$/,
      answer: async () => ({ status: 200, body: { pulls: pulls.list() } }),
    },
    {
      method: "POST",
      path: /^\/v1\/pulls$/,
      body: PullRequestSchema,
      answer: async (_groups, body) => ({ status: 202, body: pulls.start(body as PullRequest) }),
    },
    {
      method: "GET",
      path: /^\/v1\/pulls\/(?<id>[^/]+)$/,
      async answer({ id = "" }) {
        const pull = pulls.get(id);
        if (pull === undefined) throw noPull(id);
        return { status: 200, body: pull };
      },
    },
    {
      method: "DELETE",
      path: /^\/v1\/pulls\/(?<id>[^/]+)$/,
      async answer({ id = "" }) {
        if (!pulls.cancel(id)) throw noPull(id);
        return { status: 204 };
      },
    },
    {
      method: "GET",
      path: /^\/v1\/site\/token$/,
      answer: async () => ({ status: 200, body: { token: await components.token() } }),
    },
    {
      method: "POST",
      path: /^\/v1\/site\/join$/,
      body: JoinRequestSchema,
      answer: async (_groups, body) => ({
        status: 200,
        body: await components.join(body as JoinRequest),
      }),
    },
  ];
}
