/**
 * This machine's place on the LAN: a libp2p host that only members of its site can talk to. It implements the
 * engine's {@link PeerTransport}; nothing else of libp2p shows.
 *
 * ```ts
 * const identity = await loadIdentity({ logger }, { directory });
 * await using network = createNetwork({ identity, clock, random, logger, metrics }, { token });
 * await network.start();
 * ```
 *
 * @packageDocumentation
 */
export {
  createEphemeralIdentity,
  type Identity,
  type IdentityInit,
  loadIdentity,
} from "./identity.ts";
export { createNetwork, DEFAULT_SWARM_PORT } from "./network.ts";
export type { Network, NetworkComponents, NetworkInit } from "./network-types.ts";
export { parsePeerAddress } from "./addresses.ts";
export {
  createSiteToken,
  parseSiteToken,
  type Site,
  siteOf,
  type SiteToken,
  type TokenSite,
} from "./site-token.ts";
export {
  type Certificate,
  hasRole,
  issueCertificate,
  LONGEST_CERTIFICATE_MS,
} from "./site/certificate.ts";
export type { SiteRecord } from "./site/credentials.ts";
export type { Issuer, JoinGrant } from "./site/join-exchange.ts";
export { createJoinToken, isJoinToken, type JoinToken, parseJoinToken } from "./site/join-token.ts";
export { MAX_REVOCATIONS, signRevocation, signTokenEnd } from "./site/notices.ts";
export { createSiteKeySeed, type SiteKey, siteKeyOf } from "./site/site-key.ts";
export { parsePeerId } from "./signatures.ts";
export type { PeerStatus } from "./peer-status.ts";
export type { RosterTable } from "./roster.ts";
