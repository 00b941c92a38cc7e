import type { Peer, PeerList, Status } from "@shoal/api";
import type { Network } from "@shoal/network";
import type { Store } from "@shoal/store";
import type { Swarm } from "@shoal/swarm";
import type { LoginSources, Upstream } from "@shoal/upstream";
import type { Audit } from "./audit/audit.ts";
import type { Configuration } from "./configuration.ts";
import type { ClientSightings } from "./mirror/clients.ts";
import type { SiteMembership } from "./site-membership.ts";
import type { Traffic } from "./traffic.ts";
import { VERSION } from "./version.ts";

/** What a daemon's status is read from. */
export interface StatusSources {
  readonly configuration: Configuration;
  readonly store: Store;
  readonly upstream: Upstream;
  readonly network: Network;
  readonly swarm: Swarm;
  readonly site: Pick<SiteMembership, "id">;
  readonly traffic: Traffic;
  readonly clients: ClientSightings;
  readonly audit: Pick<Audit, "status">;
  /** Nothing is stored below so much free space. */
  readonly minFreeBytes: number;
  readonly logins: () => Promise<LoginSources>;
  readonly startedAt: string;
  readonly mirrorAddresses: () => readonly string[];
}

function certificateField(network: Network): Pick<Status, "certificate"> {
  const certificate = network.credentials()?.certificate;
  if (certificate === undefined) return {};
  const { name, roles, issuedAtMs, notAfterMs } = certificate;
  return {
    certificate: {
      name,
      roles: [...roles],
      issuedAt: new Date(issuedAtMs).toISOString(),
      notAfter: new Date(notAfterMs).toISOString(),
    },
  };
}

function twinField(network: Network): Pick<Status, "twin"> {
  const twin = network.twin();
  if (twin === undefined) return {};
  return { twin: { address: twin.address, seenAt: new Date(twin.seenMs).toISOString() } };
}

/** What `shoal status` shows. */
export async function statusOf(parts: StatusSources): Promise<Status> {
  const { configuration, store, upstream, network, swarm, traffic } = parts;
  const site = parts.site.id();
  const bulkPort = network.bulkPort();
  return {
    version: VERSION,
    peerId: network.self,
    startedAt: parts.startedAt,
    stateFolder: configuration.state,
    ...(site === undefined ? {} : { site }),
    ...certificateField(network),
    mirror: [...parts.mirrorAddresses()],
    swarm: [...network.listenAddresses()],
    ...(bulkPort === undefined ? {} : { bulkPort }),
    mdns: network.mdns(),
    ...twinField(network),
    peersUp: network.members().length,
    store: { ...(await store.usage()), minFreeBytes: parts.minFreeBytes },
    traffic: {
      fromUpstreamBytes: traffic.total("shoal_swarm_received_bytes_total", "upstream"),
      fromPeersBytes: traffic.total("shoal_swarm_received_bytes_total", "peers"),
      toPeersBytes: traffic.total("shoal_swarm_sent_bytes_total"),
      toClientsBytes: traffic.total("shoal_mirror_sent_bytes_total"),
    },
    clients: parts.clients.list().map(({ engine, lastSeenMs }) => ({
      engine,
      lastSeenAt: new Date(lastSeenMs).toISOString(),
    })),
    logins: loginsField(await parts.logins()),
    transfers: swarm.transfers().length,
    audit: parts.audit.status(),
    registries: upstream.health().map(({ registry, backOffUntilMs, lastErrorCode, pullLimit }) => ({
      registry,
      ...(backOffUntilMs === undefined
        ? {}
        : { backOffUntil: new Date(backOffUntilMs).toISOString() }),
      ...(lastErrorCode === undefined ? {} : { lastErrorCode }),
      ...(pullLimit === undefined ? {} : { pullLimit }),
    })),
  };
}

/** What `shoal peers` shows. */
export function peersOf({ network, swarm }: Pick<StatusSources, "network" | "swarm">): PeerList {
  const suspects = new Map(swarm.suspects().map((suspect) => [suspect.peer, suspect]));
  return {
    self: network.self,
    ...zoneField(network, network.self),
    peers: network.peers().map(({ id, state, addresses, bulkPort, source, lastSeenMs }) => ({
      id,
      state,
      addresses: [...addresses],
      ...(bulkPort === undefined ? {} : { bulkPort }),
      source,
      lastSeenAt: new Date(lastSeenMs).toISOString(),
      ...conductOf(suspects.get(id)),
      ...nameField(network, id),
      ...zoneField(network, id),
    })),
  };
}

function loginsField({ files, helpers }: LoginSources): Status["logins"] {
  return { files: [...files], helpers: [...helpers] };
}

function nameField(network: Network, peer: Network["self"]): { name?: string } {
  const name = network.certificateOf(peer)?.name;
  return name === undefined ? {} : { name };
}

function zoneField(network: Network, peer: Network["self"]): { zone?: string } {
  const zone = network.zoneOf?.(peer);
  return zone === undefined ? {} : { zone };
}

function conductOf(
  suspect: ReturnType<Swarm["suspects"]>[number] | undefined,
): Pick<Peer, "strikes" | "bannedUntil" | "falseBlobs"> {
  const untilMs = suspect?.bannedUntilMs;
  const falseBlobs = (suspect?.falseBlobs ?? []).map((blob) => ({
    digest: blob.digest,
    registry: blob.registry,
    at: new Date(blob.atMs).toISOString(),
    counts: blob.certain && !blob.withdrawn,
    proof: blob.proof,
  }));
  return {
    strikes: suspect?.strikes ?? 0,
    ...(falseBlobs.length === 0 ? {} : { falseBlobs }),
    ...(untilMs === undefined ? {} : { bannedUntil: new Date(untilMs).toISOString() }),
  };
}
