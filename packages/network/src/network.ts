import { isIP } from "node:net";
import type { Connection, Stream } from "@libp2p/interface";
import type { Libp2p } from "libp2p";
import {
  type AbortOptions,
  type Clock,
  hasCode,
  type Logger,
  type MetricsRegister,
  raceSignal,
  reuseFor,
} from "@shoal/runtime";
import type {
  FrameHandler,
  Lane,
  MembershipEvents,
  PeerIdString,
  PeerTransport,
} from "@shoal/swarm";
import { type Endpoint, endpointOf, parsePeerAddress, toMultiaddr } from "./addresses.ts";
import {
  ADMISSION_FRAME_BYTES,
  ADMISSION_MS,
  ADMISSION_PROTOCOL,
  type AdmissionInit,
  type Card,
  createCard,
  grantAdmission,
  requestAdmission,
} from "./admission.ts";
import { BULK_KEY_LIMITS, BULK_KEY_PROTOCOL, createBulkPath } from "./bulk-path.ts";
import type { PeerSource } from "./candidates.ts";
import { unreachable } from "./faults.ts";
import { createFinder, type Finder } from "./finder.ts";
import { type FramedStream, type FrameLimits, frameStream } from "./frames.ts";
import { BEAT_LIMITS, BEAT_PROTOCOL, startHeartbeat } from "./heartbeat.ts";
import { startHost } from "./host.ts";
import type { Identity } from "./identity.ts";
import { createPeerLanes, LANES, type PeerLanes, serveLane } from "./lanes.ts";
import { createNetworkMetrics } from "./metrics.ts";
import { createRoster, type RosterTable } from "./roster.ts";
import { createSigner, createVerifier } from "./signatures.ts";
import { type Site, type SiteToken, siteOf } from "./site-token.ts";

/** How often the roster notes who is up. Milliseconds. */
const ROSTER_INTERVAL_MS = 3600 * 1000;
/** libp2p works out anew where this machine listens each time that it is asked. Milliseconds. */
const ADDRESSES_MS = 1000;

export interface NetworkComponents {
  readonly identity: Identity;
  readonly clock: Clock;
  /** Floats in [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
  /** Keeps members' addresses over a restart. @default nowhere */
  readonly roster?: RosterTable;
}

export interface NetworkInit {
  /** Without one the machine belongs to no site, and nothing listens. */
  readonly token?: SiteToken | undefined;
  /** Addresses to listen on. @default every IPv4 and IPv6 address */
  readonly listen?: readonly string[];
  /** TCP port. @default 5056 */
  readonly port?: number;
  /** TCP port of the bulk lane over TLS; any free one when it is taken or 0. @default none: bulk goes over libp2p */
  readonly bulkPort?: number;
  /** `host:port` of peers where multicast does not pass. */
  readonly peers?: readonly string[];
  /** @default true */
  readonly mdns?: boolean;
  /** Label of the rack or room that this machine is in, told to members. @default none */
  readonly zone?: string | undefined;
}

/** A peer as status shows it. */
export interface PeerStatus {
  readonly id: PeerIdString;
  readonly state: "up" | "down";
  readonly addresses: readonly string[];
  readonly source: PeerSource;
  /** Wall-clock milliseconds. */
  readonly lastSeenMs: number;
}

/** This machine's place in its site. */
export interface Network extends PeerTransport, AsyncDisposable {
  /** Listens and looks for members, if there is a token. @throws ERR_PORT_IN_USE, ERR_LISTEN */
  start(options?: AbortOptions): Promise<void>;
  /** Leaves the site it is in, and joins the token's; where that fails it goes back. @throws as `start` does */
  join(token: SiteToken): Promise<void>;
  peers(): readonly PeerStatus[];
  /** `failing` when multicast DNS is spoken on no interface. */
  mdns(): "on" | "off" | "failing";
  /** `ip:port` where members reach this machine. */
  listenAddresses(): readonly string[];
}

interface Member {
  readonly connections: Set<Connection>;
  lanes: PeerLanes;
  readonly zone: string | undefined;
}

export const DEFAULT_SWARM_PORT = 5056;

/** @throws ERR_PEER_ADDRESS */
export function createNetwork(components: NetworkComponents, init: NetworkInit = {}): Network {
  const { identity, clock, logger } = components;
  const self = identity.peerId;
  const port = init.port ?? DEFAULT_SWARM_PORT;
  const configured = (init.peers ?? []).map((text) => parsePeerAddress(text, port));
  const metrics = createNetworkMetrics(components.metrics);
  const members = new Map<PeerIdString, Member>();
  const listeners: {
    readonly [Type in keyof MembershipEvents]: Set<(peer: PeerIdString) => void>;
  } = { memberUp: new Set(), memberDown: new Set() };
  const sign = createSigner(identity.privateKey);
  const verify = createVerifier();
  const handled = Promise.withResolvers<void>();
  let handler: FrameHandler | undefined;
  let token = init.token;
  let site: Site | undefined;
  let node: Libp2p | undefined;
  let finder: Finder | undefined;
  let ownAddresses = ownMultiaddrs;
  let running = new AbortController();
  const isUp = (peer: string): boolean => members.has(peer as PeerIdString);
  const roster = createRoster({ table: components.roster, isUp, clock, logger });
  const bulkPath = createBulkPath({
    clock,
    logger,
    limits: { readBytes: LANES.bulk.answerBytes, writeBytes: LANES.bulk.requestBytes },
    connections: LANES.bulk.streams,
  });

  // -- Membership

  function admit(connection: Connection, card: Card): void {
    const peer = connection.remotePeer.toString() as PeerIdString;
    // One that has closed meanwhile is never heard of again: it must not become a member.
    if (connection.status !== "open") return;
    metrics.admissions.add(1, { outcome: "admitted" });
    const known = members.get(peer);
    if (known === undefined) {
      const { zone } = card;
      members.set(peer, { connections: new Set([connection]), lanes: lanesOver(connection), zone });
      metrics.members.set(members.size);
      logger.info({ peer, address: connection.remoteAddr.toString() }, "a member is up");
      for (const listener of listeners.memberUp) listener(peer);
    } else known.connections.add(connection);
    const source = finder?.sourceOf(peer) ?? "inbound";
    const endpoints = finder?.learn(peer, card.addresses, source, true) ?? [];
    roster.seen(
      peer,
      endpoints.map((endpoint) => toMultiaddr(endpoint).toString()),
    );
    for (const other of card.roster) finder?.learn(other.peer, other.addresses, "roster");
  }

  function closed(connection: Connection): void {
    const peer = connection.remotePeer.toString() as PeerIdString;
    const member = members.get(peer);
    if (member === undefined || !member.connections.delete(connection)) return;
    const [other] = member.connections;
    if (other !== undefined) {
      if (member.lanes.connection !== connection) return;
      member.lanes.close();
      member.lanes = lanesOver(other);
      return;
    }
    member.lanes.close();
    members.delete(peer);
    roster.touch(peer);
    bulkPath.drop(peer);
    metrics.members.set(members.size);
    finder?.lost(peer);
    logger.info({ peer }, "a member is down");
    for (const listener of listeners.memberDown) listener(peer);
  }

  function lanesOver(connection: Connection): PeerLanes {
    return createPeerLanes(connection, (onChange) => bulkPath.client(connection, onChange));
  }

  function card(): Card {
    return createCard(
      ownMultiaddrs(),
      roster.list().filter(({ peer }) => peer !== self),
      init.zone,
    );
  }

  function ownMultiaddrs(): string[] {
    return (node?.getMultiaddrs() ?? [])
      .flatMap((address) => endpointOf(address) ?? [])
      .map((endpoint) => toMultiaddr(endpoint).toString())
      .slice(0, 16);
  }

  function admissionWith(connection: Connection): AdmissionInit {
    return {
      key: site!.admissionKey,
      self,
      remote: connection.remotePeer.toString(),
      card,
    };
  }

  async function beAdmitted(connection: Connection): Promise<void> {
    try {
      const signal = AbortSignal.timeout(ADMISSION_MS);
      const opened = await connection.newStream(ADMISSION_PROTOCOL, { signal });
      const stream = frameStream(opened, admissionLimits);
      const theirs = await requestAdmission(stream, admissionWith(connection));
      admit(connection, theirs);
      stream.abort(unreachable("has ended the admission"));
    } catch (error) {
      refuse(connection, error);
      throw error;
    }
  }

  function refuse(connection: Connection, error: unknown): void {
    metrics.admissions.add(1, { outcome: "refused" });
    logger.info({ error, address: connection.remoteAddr.toString() }, "a peer was not admitted");
    connection.abort(unreachable("was not admitted"));
  }

  function isAdmitted(connection: Connection): boolean {
    const peer = connection.remotePeer.toString() as PeerIdString;
    return members.get(peer)?.connections.has(connection) === true;
  }

  /** Answers a protocol for members alone: a stranger's stream is cut before anything of it is read. */
  function forMembers(
    limits: FrameLimits,
    answer: (stream: FramedStream, peer: PeerIdString, connection: Connection) => Promise<void>,
  ): (stream: Stream, connection: Connection) => void {
    return (stream, connection) => {
      const peer = connection.remotePeer.toString() as PeerIdString;
      if (!isAdmitted(connection)) {
        stream.abort(unreachable("was not admitted"));
        return;
      }
      const framed = frameStream(stream, limits);
      answer(framed, peer, connection)
        .then(async () => await stream.close())
        .catch((error: unknown) => {
          framed.abort(error instanceof Error ? error : unreachable("was cut"));
          logger.debug({ error, peer }, "a stream has ended");
        });
      framed.signal.addEventListener("abort", () => {
        if (framed.fault === undefined) return;
        logger.warn({ error: framed.fault, peer }, "a member broke the protocol");
        connection.abort(framed.fault);
      });
    };
  }

  function laneHandler(lane: Lane): (stream: Stream, connection: Connection) => void {
    const { requestBytes, answerBytes } = LANES[lane];
    const limits = { readBytes: requestBytes, writeBytes: answerBytes };
    return forMembers(limits, async (stream, peer) => {
      await serveLane(stream, lane, peer, answerWith, running.signal);
    });
  }

  /** Answers a member's bulk requests that come over TLS. */
  async function serveBulk(
    stream: FramedStream,
    peer: PeerIdString,
    alive: () => void,
  ): Promise<void> {
    stream.signal.addEventListener("abort", () => {
      if (stream.fault === undefined) return;
      logger.warn({ error: stream.fault, peer }, "a member broke the protocol");
      for (const connection of members.get(peer)?.connections ?? []) connection.abort(stream.fault);
    });
    const answer: FrameHandler = async (...request) => {
      alive();
      return await answerWith(...request);
    };
    await serveLane(stream, "bulk", peer, answer, running.signal);
  }

  async function answerWith(...[peer, lane, frame, options]: Parameters<FrameHandler>) {
    await raceSignal(handled.promise, options.signal);
    const parts = await handler!(peer, lane, frame, options);
    metrics.bytes.add(frame.length, { direction: "in", lane });
    const sent = parts.reduce((sum, part) => sum + part.length, 0);
    metrics.bytes.add(sent, { direction: "out", lane });
    return parts;
  }

  function onAdmissionStream(stream: Stream, connection: Connection): void {
    const framed = frameStream(stream, admissionLimits);
    grantAdmission(framed, admissionWith(connection))
      .then((theirs) => admit(connection, theirs))
      .catch((error: unknown) => refuse(connection, error));
  }

  /** A connection that asks for no admission is not kept. */
  function expectAdmission(connection: Connection): void {
    clock.schedule(8000, () => {
      if (connection.status === "open" && !isAdmitted(connection))
        refuse(connection, unreachable("asked for no admission"));
    });
  }

  async function connect(
    endpoints: readonly Endpoint[],
    expected: PeerIdString | undefined,
  ): Promise<PeerIdString> {
    const current = node;
    if (current === undefined) throw unreachable("is not looked for any more");
    const addresses = endpoints
      .map(toMultiaddr)
      .map((address) =>
        expected === undefined ? address : address.encapsulate(`/p2p/${expected}`),
      );
    const connection = await current.dial(addresses, {
      signal: AbortSignal.any([running.signal, AbortSignal.timeout(5000)]),
    });
    const peer = connection.remotePeer.toString() as PeerIdString;
    if (peer === self) connection.abort(unreachable("is this machine"));
    else if (!isAdmitted(connection)) await beAdmitted(connection);
    return peer;
  }

  function keepRoster(signal: AbortSignal): void {
    clock.schedule(ROSTER_INTERVAL_MS, () => {
      if (signal.aborted) return;
      for (const peer of members.keys()) roster.touch(peer);
      keepRoster(signal);
    });
  }

  // -- Life

  /** All of it, or nothing. */
  async function startNode(options: { readonly anew: boolean }): Promise<void> {
    if (token === undefined) return;
    try {
      await startIn(siteOf(token), options);
    } catch (error) {
      await stopNode();
      throw error;
    }
  }

  async function startIn(entered: Site, { anew }: { readonly anew: boolean }): Promise<void> {
    site = entered;
    running = new AbortController();
    finder = createFinder(components, {
      self,
      configured,
      roster,
      own: () => ownAddresses(),
      members: () => members.size,
      isMember: (peer) => members.has(peer),
      connect,
    });
    const { signal } = running;
    const heartbeat = startHeartbeat({
      connections: () => [...members.values()].flatMap((member) => [...member.connections]),
      clock,
      logger,
      signal,
    });
    const hosts = init.listen ?? ["0.0.0.0", "::"];
    node = await startHost({
      identity,
      site,
      listen: hosts.map((host) => listenAddress(host, port)),
      onConnection: (connection) => {
        if (connection.direction === "inbound") expectAdmission(connection);
      },
      onConnectionClosed: closed,
      protocols: {
        [ADMISSION_PROTOCOL]: onAdmissionStream,
        [LANES.control.protocol]: laneHandler("control"),
        [LANES.bulk.protocol]: laneHandler("bulk"),
        [BULK_KEY_PROTOCOL]: forMembers(
          BULK_KEY_LIMITS,
          async (stream, peer) => await bulkPath.answerKeys(stream, peer, running.signal),
        ),
        [BEAT_PROTOCOL]: forMembers(
          BEAT_LIMITS,
          async (stream, _peer, connection) => await heartbeat.answer(stream, connection),
        ),
      },
    });
    if (init.bulkPort !== undefined)
      await bulkPath.listen({ hosts, port: init.bulkPort, serve: serveBulk });
    if (anew) await roster.clear();
    ownAddresses = reuseFor(clock, ADDRESSES_MS, ownMultiaddrs);
    await finder.start();
    keepRoster(signal);
    if (init.mdns ?? true) finder.lookAround(site.serviceTag);
  }

  async function stopNode(): Promise<void> {
    running.abort(unreachable("is leaving"));
    const stopping = node;
    node = undefined;
    await finder?.[Symbol.asyncDispose]();
    finder = undefined;
    ownAddresses = ownMultiaddrs;
    await Promise.all([bulkPath[Symbol.asyncDispose](), stopping?.stop()]);
    for (const [peer, member] of members) {
      member.lanes.close();
      members.delete(peer);
      roster.touch(peer);
      bulkPath.drop(peer);
      for (const listener of listeners.memberDown) listener(peer);
    }
    metrics.members.set(0);
  }

  return {
    self,
    get site() {
      return site?.id ?? "";
    },
    members: () => [...members.keys()],
    zoneOf: (peer) => (peer === self ? init.zone : members.get(peer)?.zone),
    async request(peer, lane, frame, options = {}) {
      const member = members.get(peer);
      if (member === undefined) throw unreachable("is not up");
      try {
        const answer = await member.lanes.request(lane, frame, options);
        metrics.requests.add(1, { lane, outcome: "ok" });
        metrics.bytes.add(frame.length, { direction: "out", lane });
        metrics.bytes.add(answer.length, { direction: "in", lane });
        return answer;
      } catch (error) {
        options.signal?.throwIfAborted();
        metrics.requests.add(1, { lane, outcome: "failed" });
        if (hasCode(error, "ERR_PEER_UNREACHABLE", "ERR_PEER_PROTOCOL")) throw error;
        throw unreachable("went away", error);
      }
    },
    prepare: (peer) => members.get(peer)?.lanes.prepare(),
    handle(answer) {
      handler = answer;
      handled.resolve();
    },
    on(type, listener) {
      listeners[type].add(listener);
      return {
        [Symbol.dispose]() {
          listeners[type].delete(listener);
        },
      };
    },
    sign: async (message) => sign(message),
    verify: async (peer, message, signature) => verify(peer, message, signature),
    start: async () => await startNode({ anew: false }),
    async join(newToken) {
      const old = token;
      await stopNode();
      token = newToken;
      try {
        await startNode({ anew: old !== undefined && old !== newToken });
      } catch (error) {
        token = old;
        await startNode({ anew: false }).catch((failure: unknown) =>
          logger.error({ error: failure }, "this machine is in no site until it is started again"),
        );
        throw error;
      }
    },
    peers: () => {
      const known = roster.list();
      const noted = new Set(known.map(({ peer }) => peer));
      const unnoted = [...members.keys()].filter((peer) => !noted.has(peer));
      return [
        ...known,
        ...unnoted.map((peer) => ({ peer, addresses: [], seenMs: clock.wallNow() })),
      ].map(({ peer, addresses, seenMs }) => {
        const id = peer as PeerIdString;
        const endpoints = addresses.flatMap((address) => endpointOf(address) ?? []);
        return {
          id,
          state: members.has(id) ? "up" : "down",
          addresses: (endpoints.length > 0 ? endpoints : (finder?.endpointsOf(id) ?? [])).map(
            formatEndpoint,
          ),
          source: finder?.sourceOf(id) ?? "inbound",
          lastSeenMs: seenMs,
        };
      });
    },
    mdns: () => finder?.mdns() ?? "off",
    listenAddresses: () =>
      (node?.getMultiaddrs() ?? []).flatMap((address) => {
        const endpoint = endpointOf(address);
        return endpoint === undefined ? [] : [formatEndpoint(endpoint)];
      }),
    [Symbol.asyncDispose]: stopNode,
  };
}

const admissionLimits = { readBytes: ADMISSION_FRAME_BYTES, writeBytes: ADMISSION_FRAME_BYTES };

function listenAddress(host: string, port: number): string {
  return `/${isIP(host) === 6 ? "ip6" : "ip4"}/${host}/tcp/${port}`;
}

function formatEndpoint({ host, port }: Endpoint): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}
