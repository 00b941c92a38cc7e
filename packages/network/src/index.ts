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
export {
  createNetwork,
  DEFAULT_SWARM_PORT,
  type Network,
  type NetworkComponents,
  type NetworkInit,
} from "./network.ts";
export { parsePeerAddress } from "./addresses.ts";
export {
  createSiteToken,
  parseSiteToken,
  type Site,
  siteOf,
  type SiteToken,
  type TokenSite,
} from "./site-token.ts";
export type { PeerStatus } from "./peer-status.ts";
export type { RosterTable } from "./roster.ts";
