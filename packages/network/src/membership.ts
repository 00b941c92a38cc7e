import type { Connection } from "@libp2p/interface";
import type { Logger } from "@shoal/runtime";
import type { MembershipEvents, PeerIdString } from "@shoal/swarm";
import { toMultiaddr } from "./addresses.ts";
import type { Card } from "./admission.ts";
import type { BulkPath } from "./bulk-path.ts";
import { unreachable } from "./faults.ts";
import type { Finder } from "./finder.ts";
import { createPeerLanes, type PeerLanes } from "./lanes.ts";
import type { NetworkMetrics } from "./metrics.ts";
import type { Roster } from "./roster.ts";
import type { Certificate } from "./site/certificate.ts";
import { bestOf, type Standing } from "./site/credentials.ts";
import type { Admitted } from "./site/mutual-admission.ts";

/** Who is up in this machine's site, and over which connections. */
export interface Membership {
  readonly peers: readonly PeerIdString[];
  has(peer: PeerIdString): boolean;
  zoneOf(peer: PeerIdString): string | undefined;
  /** Where a member is asked. */
  lanes(peer: PeerIdString): PeerLanes | undefined;
  /** Those to one member, or to all. */
  connections(peer?: PeerIdString): Connection[];
  /** Whether who is at the other end has been admitted over this connection. */
  isAdmitted(connection: Connection): boolean;
  /** Whoever is at the other end has shown that it belongs to the site. */
  admit(connection: Connection, admitted: Admitted): void;
  /** By what a member was admitted. */
  standingOf(peer: PeerIdString): Standing | undefined;
  /** A member has shown a certificate since. */
  certified(peer: PeerIdString, certificate: Certificate): void;
  /** Ends all connections of a member, those of its bulk lane too. */
  cut(peer: PeerIdString, why: string): void;
  closed(connection: Connection): void;
  /** This machine leaves: all members are down. */
  clear(): void;
  on(type: keyof MembershipEvents, listener: (peer: PeerIdString) => void): Disposable;
}

export interface MembershipComponents {
  readonly roster: Pick<Roster, "seen" | "touch">;
  readonly bulkPath: Pick<BulkPath, "client" | "drop">;
  /** Learns where members are, while this machine is in a site. */
  readonly finder: () => Pick<Finder, "sourceOf" | "learn" | "lost"> | undefined;
  /** A member has shown a certificate. */
  readonly onCertificate: (certificate: Certificate) => void;
  readonly metrics: Pick<NetworkMetrics, "admissions" | "members">;
  readonly logger: Logger;
}

interface Member {
  readonly connections: Set<Connection>;
  lanes: PeerLanes;
  readonly zone: string | undefined;
  standing: Standing;
}

export function createMembership(components: MembershipComponents): Membership {
  const { roster, bulkPath, metrics, logger } = components;
  const members = new Map<PeerIdString, Member>();
  const listeners: {
    readonly [Type in keyof MembershipEvents]: Set<(peer: PeerIdString) => void>;
  } = { memberUp: new Set(), memberDown: new Set() };

  function lanesOver(connection: Connection): PeerLanes {
    return createPeerLanes(connection, (onChange) => bulkPath.client(connection, onChange));
  }

  function learn(peer: PeerIdString, card: Card): void {
    const finder = components.finder();
    const source = finder?.sourceOf(peer) ?? "inbound";
    const endpoints = finder?.learn(peer, card.addresses, source, true) ?? [];
    roster.seen(
      peer,
      endpoints.map((endpoint) => toMultiaddr(endpoint).toString()),
    );
    for (const other of card.roster) finder?.learn(other.peer, other.addresses, "roster");
  }

  function forget(peer: PeerIdString, member: Member): void {
    member.lanes.close();
    members.delete(peer);
    roster.touch(peer);
    bulkPath.drop(peer);
    metrics.members.set(members.size);
  }

  return {
    get peers() {
      return [...members.keys()];
    },
    has: (peer) => members.has(peer),
    zoneOf: (peer) => members.get(peer)?.zone,
    lanes: (peer) => members.get(peer)?.lanes,
    connections(peer) {
      const asked = peer === undefined ? [...members.values()] : [members.get(peer)];
      return asked.flatMap((member) => [...(member?.connections ?? [])]);
    },
    isAdmitted(connection) {
      return members.get(peerOf(connection))?.connections.has(connection) === true;
    },
    admit(connection, { card, standing }) {
      // One that has closed meanwhile is never heard of again: it must not become a member.
      if (connection.status !== "open") return;
      metrics.admissions.add(1, { outcome: "admitted" });
      const peer = peerOf(connection);
      const known = members.get(peer);
      if (known === undefined) {
        const connections = new Set([connection]);
        const lanes = lanesOver(connection);
        members.set(peer, { connections, lanes, zone: card.zone, standing });
        metrics.members.set(members.size);
        logger.info({ peer, address: connection.remoteAddr.toString() }, "a member is up");
        for (const listener of listeners.memberUp) listener(peer);
      } else {
        known.connections.add(connection);
        known.standing = bestOf(known.standing, standing);
      }
      if (standing.certificate !== undefined) components.onCertificate(standing.certificate);
      learn(peer, card);
    },
    standingOf: (peer) => members.get(peer)?.standing,
    certified(peer, certificate) {
      const member = members.get(peer);
      if (member === undefined) return;
      member.standing = bestOf(member.standing, { token: false, certificate });
      components.onCertificate(certificate);
    },
    cut(peer, why) {
      for (const connection of Array.from(members.get(peer)?.connections ?? []))
        connection.abort(unreachable(why));
      bulkPath.drop(peer);
    },
    closed(connection) {
      const peer = peerOf(connection);
      const member = members.get(peer);
      if (member === undefined || !member.connections.delete(connection)) return;
      const [other] = member.connections;
      if (other !== undefined) {
        if (member.lanes.connection !== connection) return;
        member.lanes.close();
        member.lanes = lanesOver(other);
        return;
      }
      forget(peer, member);
      components.finder()?.lost(peer);
      logger.info({ peer }, "a member is down");
      for (const listener of listeners.memberDown) listener(peer);
    },
    clear() {
      for (const [peer, member] of members) {
        forget(peer, member);
        for (const listener of listeners.memberDown) listener(peer);
      }
    },
    on(type, listener) {
      listeners[type].add(listener);
      return {
        [Symbol.dispose]() {
          listeners[type].delete(listener);
        },
      };
    },
  };
}

/** Who is at the other end. */
export function peerOf(connection: Connection): PeerIdString {
  return connection.remotePeer.toString() as PeerIdString;
}
