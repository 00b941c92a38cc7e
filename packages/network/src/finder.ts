import { lookup } from "node:dns/promises";
import { type Clock, type Logger, reuseFor } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import {
  type Endpoint,
  endpointOf,
  formatEndpoint,
  isLoopback,
  isOnLink,
  toMultiaddr,
  waysTo,
} from "./addresses.ts";
import { type Candidate, createCandidates, type PeerSource } from "./candidates.ts";
import { type InterfaceRule, ownAddresses } from "./interfaces.ts";
import { type Mdns, startMdns } from "./mdns.ts";
import type { Roster } from "./roster.ts";
import { followSeeds } from "./seeds.ts";
import { parsePeerId } from "./signatures.ts";

const DIAL_TICK_MS = 100;
/** Dials begun in each tick: ten a second. */
const DIALS_PER_TICK = 1;
/** Addresses that are taken from anybody's word of one peer. */
const MAX_ENDPOINTS = 4;
/** The system is not asked more often for this machine's interfaces. Milliseconds. */
const ADDRESSES_MS = 1000;

export interface FinderComponents {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

export interface FinderInit {
  readonly self: PeerIdString;
  /** Addresses of the configuration, which are dialled wherever they are. */
  readonly configured: readonly Endpoint[];
  /** The interfaces that members are behind. */
  readonly isMeant: InterfaceRule;
  readonly roster: Roster;
  /** This machine's multiaddrs, without its peer id. */
  readonly own: () => readonly string[];
  readonly members: () => number;
  readonly isMember: (peer: PeerIdString) => boolean;
  /** Somebody says that this machine is to be met there. */
  readonly onOwnName?: (endpoints: readonly Endpoint[]) => void;
  /** Connects, and is admitted. @param addresses none of them empty */
  readonly connect: (
    endpoints: readonly Endpoint[],
    expected: PeerIdString | undefined,
  ) => Promise<PeerIdString>;
}

/** Knows of others by configuration, roster, mDNS and members' words, and dials them. */
export interface Finder extends AsyncDisposable {
  /**
   * Somebody was heard of. Only on-link addresses, and few, are taken from others' word.
   * @returns the addresses that were taken
   */
  learn(
    peer: string,
    addresses: readonly string[],
    source: PeerSource,
    proven?: boolean,
  ): readonly Endpoint[];
  /** The peer's connection was lost. */
  lost(peer: PeerIdString): void;
  endpointsOf(peer: PeerIdString): readonly Endpoint[];
  sourceOf(peer: PeerIdString): PeerSource | undefined;
  /** Takes in what is configured and what the roster tells, and dials until it is disposed. */
  start(): Promise<void>;
  lookAround(serviceTag: string): void;
  mdns(): "on" | "off" | "failing";
}

export function createFinder(components: FinderComponents, init: FinderInit): Finder {
  const { clock, random, logger } = components;
  const { self, isMember } = init;
  const candidates = createCandidates(random);
  const interfaces = reuseFor(clock, ADDRESSES_MS, () => ownAddresses(init.isMeant));
  let mdns: Mdns | undefined;
  let seeds: Disposable | undefined;
  let ticker: Disposable | undefined;
  let stopped = false;

  function learn(
    peer: string,
    addresses: readonly string[],
    source: PeerSource,
    proven = false,
  ): readonly Endpoint[] {
    const known = parsePeerId(peer);
    if (known === undefined) return [];
    // This machine's own loopback is no place to send it to, unless the site lives there.
    const loopback = init
      .own()
      .flatMap((each) => endpointOf(each) ?? [])
      .every(isLoopback);
    const own = interfaces().filter(({ internal }) => loopback || !internal);
    const endpoints = addresses
      .flatMap((address) => endpointOf(address) ?? [])
      .flatMap((endpoint) => waysTo(endpoint, own))
      .filter(({ host }) => isOnLink(host, own))
      .slice(0, MAX_ENDPOINTS);
    if (known === self) {
      init.onOwnName?.(endpoints);
      return [];
    }
    candidates.heard({ key: known, peer: known, source, endpoints }, clock.now(), proven);
    return endpoints;
  }

  /** Where this machine listens itself, by a name of the whole site, say. */
  function isOwn({ host, port }: Endpoint): boolean {
    return init.own().some((text) => {
      const own = endpointOf(text);
      return own?.host === host && own.port === port;
    });
  }

  async function dial(candidate: Candidate): Promise<PeerIdString | undefined> {
    if (stopped) return undefined;
    // A configured address is that of a machine, which may have got a new identity since.
    return await init.connect(
      candidate.endpoints,
      candidate.source === "static" ? undefined : candidate.peer,
    );
  }

  function dialDue(): void {
    const isUp = (peer: PeerIdString): boolean => peer === self || isMember(peer);
    for (const candidate of candidates.due(isUp, clock.now(), DIALS_PER_TICK))
      void dial(candidate)
        .catch((error: unknown) => {
          logger.debug({ error, key: candidate.key }, "a peer could not be reached");
          return undefined;
        })
        .then((peer) => candidates.dialled(candidate.key, peer, clock.now()));
  }

  function keepDialling(): void {
    dialDue();
    ticker = clock.schedule(DIAL_TICK_MS, keepDialling);
  }

  return {
    learn,
    lost: (peer) => candidates.lost(peer, clock.now()),
    endpointsOf: (peer) => candidates.endpointsOf(peer),
    sourceOf: (peer) => candidates.sourceOf(peer),
    async start() {
      seeds = followSeeds(
        { clock, logger, resolve: addressesOf },
        {
          configured: init.configured,
          isAlone: () => init.members() === 0,
          onAddress(endpoint) {
            if (isOwn(endpoint)) return;
            const key = formatEndpoint(endpoint);
            const found = {
              key,
              peer: undefined,
              source: "static",
              endpoints: [endpoint],
            } as const;
            candidates.heard(found, clock.now());
          },
          onGone: (endpoint) => candidates.forget(formatEndpoint(endpoint)),
        },
      );
      for await (const { peer, addresses } of init.roster.load())
        learn(peer, addresses, "roster", true);
      if (!stopped) keepDialling();
    },
    lookAround(serviceTag) {
      mdns = startMdns(components, {
        serviceTag,
        addresses: () => init.own().map((address) => `${address}/p2p/${self}`),
        interfaces,
        members: init.members,
        onSighting(peer, endpoints) {
          const addresses = endpoints.map((endpoint) => toMultiaddr(endpoint).toString());
          learn(peer, addresses, "mdns");
        },
      });
    },
    mdns() {
      if (mdns === undefined) return "off";
      return mdns.interfaces > 0 ? "on" : "failing";
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      seeds?.[Symbol.dispose]();
      ticker?.[Symbol.dispose]();
      await mdns?.[Symbol.asyncDispose]();
      mdns = undefined;
    },
  };
}

async function addressesOf(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
