import type { AbortOptions } from "@shoal/runtime";
import type { Exchange } from "./exchange.ts";
import {
  type EndTokenRequest,
  type JoinTokenMade,
  JoinTokenMadeSchema,
  type JoinTokenRequest,
  type MemberList,
  MemberListSchema,
  type Revoked,
  RevokedSchema,
  type RevokeRequest,
  type SiteInitRequest,
  type SiteMade,
  SiteMadeSchema,
  type TokenEnded,
  TokenEndedSchema,
} from "./site-schema.ts";

/** Who belongs to the site, and who decides about it. */
export interface SiteClient {
  /** Makes the site's key on this machine. @throws ERR_SITE_KEY when it has one */
  init(request: SiteInitRequest, options?: AbortOptions): Promise<SiteMade>;
  /** A token by which machines get certificates. A secret, told once. @throws ERR_SITE_KEY where the key is not */
  createToken(request: JoinTokenRequest, options?: AbortOptions): Promise<JoinTokenMade>;
  members(options?: AbortOptions): Promise<MemberList>;
  /** @throws ERR_MEMBER_NOT_FOUND, ERR_SITE_KEY where the key is not */
  revoke(request: RevokeRequest, options?: AbortOptions): Promise<Revoked>;
  /** @throws ERR_TOKEN_IN_USE without `force`, ERR_SITE_KEY where the key is not */
  endToken(request: EndTokenRequest, options?: AbortOptions): Promise<TokenEnded>;
}

export function createSiteClient(exchange: Exchange): SiteClient {
  return {
    init: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/site/init", body }, SiteMadeSchema, options),
    createToken: (body, options = {}) =>
      exchange.ask(
        { method: "POST", path: "/v1/site/join-tokens", body },
        JoinTokenMadeSchema,
        options,
      ),
    members: (options = {}) =>
      exchange.ask({ method: "GET", path: "/v1/site/members" }, MemberListSchema, options),
    revoke: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/site/revocations", body }, RevokedSchema, options),
    endToken: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/site/token-end", body }, TokenEndedSchema, options),
  };
}
