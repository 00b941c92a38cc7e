import {
  type EndTokenRequest,
  EndTokenRequestSchema,
  type JoinTokenRequest,
  JoinTokenRequestSchema,
  type RevokeRequest,
  RevokeRequestSchema,
  type SiteInitRequest,
  SiteInitRequestSchema,
} from "@shoal/api";
import type { SiteOffice } from "../site/site-office.ts";
import type { ApiRoute } from "./server.ts";

/** The paths about who belongs to the site. */
export function createSiteRoutes(office: SiteOffice): ApiRoute[] {
  return [
    {
      method: "POST",
      path: /^\/v1\/site\/init$/,
      body: SiteInitRequestSchema,
      answer: async (_groups, body) => ({
        status: 201,
        body: await office.init(body as SiteInitRequest),
      }),
    },
    {
      method: "POST",
      path: /^\/v1\/site\/join-tokens$/,
      body: JoinTokenRequestSchema,
      answer: async (_groups, body) => ({
        status: 201,
        body: await office.createToken(body as JoinTokenRequest),
      }),
    },
    {
      method: "GET",
      path: /^\/v1\/site\/members$/,
      answer: async () => ({ status: 200, body: office.members() }),
    },
    {
      method: "POST",
      path: /^\/v1\/site\/revocations$/,
      body: RevokeRequestSchema,
      answer: async (_groups, body) => ({
        status: 201,
        body: await office.revoke((body as RevokeRequest).member),
      }),
    },
    {
      method: "POST",
      path: /^\/v1\/site\/token-end$/,
      body: EndTokenRequestSchema,
      answer: async (_groups, body) => ({
        status: 201,
        body: await office.endToken(body as EndTokenRequest),
      }),
    },
  ];
}
