import { isIP } from "node:net";
import type { Libp2p } from "libp2p";
import { deadline, hasCode, noAuditLog, reuseFor } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import {
  type Endpoint,
  endpointOf,
  formatEndpoint,
  isLinkLocal,
  isLoopback,
  parsePeerAddress,
  toMultiaddr,
  withoutZone,
} from "./addresses.ts";
import { type Card, createCard } from "./admission.ts";
import { createAdmitting } from "./admitting.ts";
import { BULK_KEY_LIMITS, BULK_KEY_PROTOCOL, createBulkPath } from "./bulk-path.ts";
import { unreachable } from "./faults.ts";
import { createFinder, type Finder } from "./finder.ts";
import { BEAT_LIMITS, BEAT_PROTOCOL, startHeartbeat } from "./heartbeat.ts";
import { isOwnKeyRefusal, startHost } from "./host.ts";
import { interfaceRule, ownAddresses as addressesOfInterfaces } from "./interfaces.ts";
import { LANES } from "./lanes.ts";
import { createMemberProtocols } from "./member-protocols.ts";
import { createMembership } from "./membership.ts";
import { createNetworkMetrics } from "./metrics.ts";
import type { Network, NetworkComponents, NetworkInit } from "./network-types.ts";
import { peerStatuses } from "./peer-status.ts";
import { sweepPeerStore } from "./peer-store-sweep.ts";
import { createRoster } from "./roster.ts";
import { createSigner, createVerifier } from "./signatures.ts";
import { createCredentials, type Credentials, type SiteRecord } from "./site/credentials.ts";
import { redeemJoinToken } from "./site/joining.ts";
import { type SiteLife, startSiteLife } from "./site/site-life.ts";
import { type SiteToken, siteOf } from "./site-token.ts";
import { createTwins } from "./twins.ts";

/** How often the roster notes who is up. Milliseconds. */
const ROSTER_INTERVAL_MS = 3600 * 1000;
/** libp2p works out anew where this machine listens each time that it is asked. Milliseconds. */
const ADDRESSES_MS = 1000;

export const DEFAULT_SWARM_PORT = 5056;

/** @throws ERR_PEER_ADDRESS */
export function createNetwork(components: NetworkComponents, init: NetworkInit = {}): Network {
  const { identity, clock, logger } = components;
  const self = identity.peerId;
  const port = init.port ?? DEFAULT_SWARM_PORT;
  const hosts = init.listen ?? ["0.0.0.0", "::"];
  const configured = (init.peers ?? []).map((text) => parsePeerAddress(text, port));
  const isMeant = interfaceRule(init.interfaces ?? {});
  const metrics = createNetworkMetrics(components.metrics);
  const sign = createSigner(identity.privateKey);
  const verify = createVerifier();
  let { token, record } = init;
  let credentials: Credentials | undefined;
  let life: SiteLife | undefined;
  let node: Libp2p | undefined;
  let finder: Finder | undefined;
  let ownAddresses = ownMultiaddrs;
  let running = new AbortController();
  const roster = createRoster({
    table: components.roster,
    isUp: (peer) => membership.has(peer as PeerIdString),
    clock,
    logger,
  });
  const twins = createTwins(
    { clock, random: components.random, logger },
    {
      isOwn: (host) =>
        addressesOfInterfaces(() => true).some(({ address }) => address === withoutZone(host)),
      holdsOwnKey,
    },
  );
  const bulkPath = createBulkPath({
    clock,
    logger,
    limits: { readBytes: LANES.bulk.answerBytes, writeBytes: LANES.bulk.requestBytes },
    connections: LANES.bulk.streams,
  });

  const membership = createMembership({
    roster,
    bulkPath,
    finder: () => finder,
    onCertificate: (certificate) => components.onCertificate?.(certificate),
    metrics,
    logger,
  });
  const admitting = createAdmitting({
    self,
    membership,
    credentials: () => credentials!,
    card,
    metrics,
    audit: components.audit ?? noAuditLog,
    clock,
    logger,
  });
  const protocols = createMemberProtocols({
    membership,
    running: () => running.signal,
    metrics,
    logger,
  });

  function card(): Card {
    return createCard(
      ownMultiaddrs(),
      roster
        .list()
        .filter(({ peer }) => peer !== self)
        .map(({ peer, addresses }) => ({ peer, addresses: addresses.map(asToldToOthers) })),
      init.zone,
    );
  }

  /** Where this machine is met: what libp2p tells, and link-local addresses, which it leaves out. */
  function ownEndpoints(): Endpoint[] {
    if (node === undefined) return [];
    const told = node.getMultiaddrs().flatMap((address) => endpointOf(address) ?? []);
    const listening = told[0]?.port;
    if (listening === undefined || !hosts.includes("::")) return told;
    const linkLocal = addressesOfInterfaces(isMeant)
      .filter(({ address, internal }) => !internal && isLinkLocal(address))
      .map(({ name, address }) => ({ host: `${address}%${name}`, port: listening }));
    // A machine with nothing else is not met on loopback.
    return linkLocal.length > 0 && told.every(isLoopback) ? linkLocal : [...told, ...linkLocal];
  }

  function ownMultiaddrs(): string[] {
    const texts = ownEndpoints().map(({ host, port: at }) =>
      toMultiaddr({ host: withoutZone(host), port: at }).toString(),
    );
    return [...new Set(texts)].slice(0, 16);
  }

  async function connect(
    endpoints: readonly Endpoint[],
    expected: PeerIdString | undefined,
  ): Promise<PeerIdString> {
    const current = node;
    if (current === undefined) throw unreachable("is not looked for any more");
    if (expected !== undefined && credentials?.dials(expected) === false)
      throw unreachable("was revoked");
    const addresses = endpoints
      .map(toMultiaddr)
      .map((address) =>
        expected === undefined ? address : address.encapsulate(`/p2p/${expected}`),
      );
    const signal = deadline(5000, running.signal);
    const dial = async () => await current.dial(addresses, { signal });
    const connection = await (expected === undefined ? twins.calling(dial) : dial());
    const peer = connection.remotePeer.toString() as PeerIdString;
    // A configured address of a member that is up already: one connection is enough.
    if (expected === undefined && membership.has(peer) && !membership.isAdmitted(connection))
      await connection.close();
    else if (!membership.isAdmitted(connection)) await admitting.request(connection);
    return peer;
  }

  async function holdsOwnKey(endpoint: Endpoint): Promise<boolean> {
    try {
      const signal = deadline(5000, running.signal);
      const connection = await node?.dial(toMultiaddr(endpoint), { signal });
      // Of a member that is up already libp2p gives the connection that there is.
      if (connection !== undefined && !membership.isAdmitted(connection)) await connection.close();
      return false;
    } catch (error) {
      if (isOwnKeyRefusal(error)) return true;
      throw error;
    }
  }

  function keepRoster(signal: AbortSignal): void {
    clock.schedule(ROSTER_INTERVAL_MS, () => {
      if (signal.aborted) return;
      for (const peer of membership.peers) roster.touch(peer);
      keepRoster(signal);
    });
  }

  // -- Life

  /** All of it, or nothing. */
  async function startNode(options: { readonly anew: boolean }): Promise<void> {
    const entered = placeOf(token, record);
    if (entered === undefined) return;
    try {
      await startIn(entered, options);
    } catch (error) {
      await stopNode();
      throw error;
    }
  }

  async function startIn(
    { kept, siteToken, tokenKey }: Place,
    { anew }: { readonly anew: boolean },
  ): Promise<void> {
    const now = (): number => clock.wallNow();
    credentials = createCredentials({ self, record: kept, tokenKey, now });
    const { site } = credentials;
    if (kept.certificate !== undefined && credentials.certificate === undefined)
      logger.warn(
        { site: site.id },
        "the certificate that was kept is another machine's; run `shoal join` with a join token of this one's own",
      );
    running = new AbortController();
    finder = createFinder(components, {
      self,
      configured,
      isMeant,
      roster,
      own: () => ownAddresses(),
      members: () => membership.peers.length,
      isMember: membership.has,
      onOwnName: twins.heardOf,
      connect,
    });
    const { signal } = running;
    const heartbeat = startHeartbeat({
      connections: () => membership.connections(),
      clock,
      logger,
      signal,
    });
    life = startSiteLife({
      self,
      credentials,
      siteToken,
      membership,
      protocols,
      issuer: components.issuer,
      metrics,
      audit: components.audit ?? noAuditLog,
      async keep(current) {
        record = current;
        await components.keepRecord?.(current);
      },
      clock,
      random: components.random,
      logger,
      signal,
    });
    node = await startHost({
      identity,
      site,
      isMeant,
      listen: hosts.map((host) => listenAddress(host, port)),
      onConnection: (connection) => {
        if (connection.direction === "inbound") admitting.expect(connection);
      },
      onConnectionClosed: membership.closed,
      onStranger: admitting.stranger,
      onOwnKey: twins.calledFrom,
      protocols: {
        ...admitting.protocols,
        ...life.protocols,
        [LANES.control.protocol]: protocols.lane("control"),
        [LANES.bulk.protocol]: protocols.lane("bulk"),
        [BULK_KEY_PROTOCOL]: protocols.forMembers(
          BULK_KEY_LIMITS,
          async (stream, peer) => await bulkPath.answerKeys(stream, peer, running.signal),
        ),
        [BEAT_PROTOCOL]: protocols.forMembers(
          BEAT_LIMITS,
          async (stream, _peer, connection) => await heartbeat.answer(stream, connection),
        ),
      },
    });
    sweepPeerStore({ node, clock, logger, signal });
    if (init.bulkPort !== undefined)
      await bulkPath.listen({ hosts, port: init.bulkPort, serve: protocols.serveBulk });
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
    life = undefined;
    ownAddresses = ownMultiaddrs;
    await Promise.all([bulkPath[Symbol.asyncDispose](), stopping?.stop()]);
    membership.clear();
  }

  /** Into a site; where that fails, back into the one before. */
  async function move(to: Pick<NetworkInit, "token" | "record">): Promise<void> {
    const old = { token, record };
    const before = credentials?.site.id;
    await stopNode();
    ({ token, record } = to);
    const anew = before !== undefined && before !== placeOf(token, record)?.kept.site.id;
    try {
      await startNode({ anew });
    } catch (error) {
      ({ token, record } = old);
      await startNode({ anew: false }).catch((failure: unknown) =>
        logger.error({ error: failure }, "this machine is in no site until it is started again"),
      );
      throw error;
    }
  }

  return {
    self,
    get site() {
      return credentials?.site.id ?? "";
    },
    members: () => membership.peers,
    zoneOf: (peer) => (peer === self ? init.zone : membership.zoneOf(peer)),
    async request(peer, lane, frame, options = {}) {
      const lanes = membership.lanes(peer);
      if (lanes === undefined) throw unreachable("is not up");
      try {
        const answer = await lanes.request(lane, frame, options);
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
    prepare: (peer) => membership.lanes(peer)?.prepare(),
    handle: protocols.handle,
    on: membership.on,
    sign: async (message) => sign(message),
    verify: async (peer, message, signature) => verify(peer, message, signature),
    start: async () => await startNode({ anew: false }),
    join: async (newToken) => await move({ token: newToken, record: undefined }),
    async redeem(joinToken, name, options) {
      const known = roster.list().flatMap(({ addresses }) => addresses);
      const peers = [...configured, ...known.flatMap((address) => endpointOf(address) ?? [])];
      const joining = { token: joinToken, name, peers, mdns: init.mdns ?? true, isMeant };
      return await redeemJoinToken(components, joining, options);
    },
    async enter(given, newToken) {
      if (life !== undefined && credentials?.site.id === given.site.id) {
        await life.take({ record: given });
        return;
      }
      await move({ token: newToken, record: given });
      await components.keepRecord?.(given);
    },
    async announce(notices) {
      if (life === undefined) throw unreachable("is in no site");
      await life.take({ notices });
    },
    credentials: () => credentials,
    certificateOf: (peer) => membership.standingOf(peer)?.certificate,
    peers: () => peerStatuses({ roster, membership, finder, wallNowMs: clock.wallNow() }),
    twin: twins.current,
    mdns: () => finder?.mdns() ?? "off",
    bulkPort: () => bulkPath.port,
    listenAddresses: () => ownEndpoints().map(formatEndpoint),
    [Symbol.asyncDispose]: stopNode,
  };
}

/** Interfaces are nobody else's business. */
function asToldToOthers(address: string): string {
  const endpoint = endpointOf(address);
  if (endpoint === undefined) return address;
  return toMultiaddr({ host: withoutZone(endpoint.host), port: endpoint.port }).toString();
}

function listenAddress(host: string, port: number): string {
  return `/${isIP(host) === 6 ? "ip6" : "ip4"}/${host}/tcp/${port}`;
}

/** The site to be in, and by what. */
interface Place {
  readonly kept: SiteRecord;
  readonly siteToken: SiteToken | undefined;
  readonly tokenKey: Uint8Array | undefined;
}

function placeOf(token: SiteToken | undefined, record: SiteRecord | undefined): Place | undefined {
  const site = token === undefined ? undefined : siteOf(token);
  if (record !== undefined && (site === undefined || site.id === record.site.id))
    return { kept: record, siteToken: token, tokenKey: site?.admissionKey };
  if (record?.certificate !== undefined)
    return { kept: record, siteToken: undefined, tokenKey: undefined };
  return site && { kept: { site, notices: [] }, siteToken: token, tokenKey: site.admissionKey };
}
