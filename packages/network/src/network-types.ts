import type { AbortOptions, AuditLog, Clock, Logger, MetricsRegister } from "@shoal/runtime";
import type { PeerIdString, PeerTransport } from "@shoal/swarm";
import type { Identity } from "./identity.ts";
import type { InterfaceRuleInit } from "./interfaces.ts";
import type { PeerStatus } from "./peer-status.ts";
import type { RosterTable } from "./roster.ts";
import type { Certificate } from "./site/certificate.ts";
import type { Credentials, SiteRecord } from "./site/credentials.ts";
import type { Issuer, JoinGrant } from "./site/join-exchange.ts";
import type { JoinToken } from "./site/join-token.ts";
import type { SiteToken } from "./site-token.ts";
import type { Twin } from "./twins.ts";

export interface NetworkComponents {
  readonly identity: Identity;
  readonly clock: Clock;
  /** Floats in [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
  /** Keeps members' addresses over a restart. @default nowhere */
  readonly roster?: RosterTable;
  /** Keeps what this machine knows of its site, durably. @default nowhere */
  readonly keepRecord?: (record: SiteRecord) => Promise<void>;
  /** Gives certificates, where this machine has the site key. @default nobody */
  readonly issuer?: Issuer;
  /** @default nowhere */
  readonly audit?: AuditLog;
  /** A member has shown its certificate. @default nobody hears of it */
  readonly onCertificate?: (certificate: Certificate) => void;
}

export interface NetworkInit {
  /** Without one, and without a record, the machine belongs to no site, and nothing listens. */
  readonly token?: SiteToken | undefined;
  /** What was kept of the site. One with a certificate counts before a token of another site. */
  readonly record?: SiteRecord | undefined;
  /** Addresses to listen on. @default every IPv4 and IPv6 address */
  readonly listen?: readonly string[];
  /** TCP port. @default 5056 */
  readonly port?: number;
  /** TCP port of the bulk lane over TLS; any free one when it is taken or 0. @default none: bulk goes over libp2p */
  readonly bulkPort?: number;
  /** Those that members are behind. @default all but those of container engines, hypervisors and VPNs */
  readonly interfaces?: InterfaceRuleInit;
  /** `host:port` of peers where multicast does not pass; a name may stand for many. */
  readonly peers?: readonly string[];
  /** @default true */
  readonly mdns?: boolean;
  /** Label of the rack or room that this machine is in, told to members. @default none */
  readonly zone?: string | undefined;
}

/** This machine's place in its site. */
export interface Network extends PeerTransport, AsyncDisposable {
  /** Listens and looks for members, if there is a token. @throws ERR_PORT_IN_USE, ERR_LISTEN */
  start(options?: AbortOptions): Promise<void>;
  /** Leaves the site it is in, and joins the token's; where that fails it goes back. @throws as `start` does */
  join(token: SiteToken): Promise<void>;
  /** Asks a member of a join token's site for a certificate; nothing changes by it. @throws ERR_JOIN */
  redeem(token: JoinToken, name: string, options?: AbortOptions): Promise<JoinGrant>;
  /**
   * Takes what this machine was given: in the site that it is in without a stop, else as `join` does.
   * @throws as `start` does, and what keeping the record throws
   */
  enter(record: SiteRecord, token?: SiteToken): Promise<void>;
  /** Takes notices that the site key has signed, keeps them, and tells all members. @throws ERR_SITE_DOCUMENT */
  announce(notices: readonly Uint8Array[]): Promise<void>;
  /** What this machine knows of its site, and shows. */
  credentials():
    | Pick<Credentials, "site" | "publicKey" | "certificate" | "notices" | "admits">
    | undefined;
  /** What a member that is up has shown. */
  certificateOf(peer: PeerIdString): Certificate | undefined;
  peers(): readonly PeerStatus[];
  /** Another machine that holds this machine's key, when one has shown so lately. */
  twin(): Twin | undefined;
  /** `failing` when multicast DNS is spoken on no interface. */
  mdns(): "on" | "off" | "failing";
  /** `ip:port` where members reach this machine. */
  listenAddresses(): readonly string[];
  /** TCP port of the bulk lane, when there is one. */
  bulkPort(): number | undefined;
}
