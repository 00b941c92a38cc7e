import { noise } from "@chainsafe/libp2p-noise";
import type { Connection, MultiaddrConnection, Stream } from "@libp2p/interface";
import { yamux } from "@libp2p/yamux";
import type { Multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import { CodedError } from "@shoal/runtime";
import { endpointOf, isLoopback } from "./addresses.ts";
import type { Identity } from "./identity.ts";
import { type InterfaceRule, ownAddresses } from "./interfaces.ts";
import { scopedTcp } from "./scoped-tcp.ts";
import type { Site } from "./site-token.ts";

const MIB = 1024 * 1024;

export interface HostInit {
  readonly identity: Identity;
  readonly site: Pick<Site, "prologue">;
  /** Multiaddrs. */
  readonly listen: readonly string[];
  /** The interfaces whose addresses are told to others. */
  readonly isMeant: InterfaceRule;
  readonly onConnection: (connection: Connection) => void;
  readonly onConnectionClosed: (connection: Connection) => void;
  /** Whoever called from there failed in the handshake: it does not know the site. */
  readonly onStranger?: (host: string | undefined) => void;
  /** Whoever called from there holds this machine's own key. */
  readonly onOwnKey?: (host: string) => void;
  /** Who answers each protocol. */
  readonly protocols: Readonly<Record<string, (stream: Stream, connection: Connection) => void>>;
}

/**
 * A libp2p node with Noise and yamux, and none of the services that would talk to strangers.
 * @throws ERR_PORT_IN_USE, ERR_LISTEN
 */
export async function startHost(init: HostInit): Promise<Libp2p> {
  const node = await createLibp2p({
    privateKey: init.identity.privateKey,
    addresses: { listen: [...init.listen], announceFilter: announced(init) },
    transports: [scopedTcp({ inboundSocketInactivityTimeout: 60_000, backlog: 128 })],
    connectionEncrypters: [watchedNoise(init)],
    streamMuxers: [
      yamux({
        // A larger window than the read buffer resets a stream that is slow to be read.
        streamOptions: { maxStreamWindowSize: 2 * MIB, maxReadBufferLength: 4 * MIB },
      }),
    ],
    connectionManager: {
      maxConnections: 300,
      inboundConnectionThreshold: 50,
      maxIncomingPendingConnections: 50,
      inboundUpgradeTimeout: 5000,
      dialTimeout: 5000,
      addressDialTimeout: 3000,
    },
    connectionMonitor: { enabled: false },
    connectionGater: { denyDialMultiaddr: () => false },
    start: false,
  });
  node.addEventListener("connection:open", (event) => init.onConnection(event.detail));
  node.addEventListener("connection:close", (event) => init.onConnectionClosed(event.detail));
  for (const [protocol, answer] of Object.entries(init.protocols))
    await node.handle(protocol, answer, { maxInboundStreams: 16, maxOutboundStreams: 64 });
  try {
    await node.start();
  } catch (cause) {
    await node.stop();
    throw listenFailure(init.listen, cause);
  }
  if (node.getMultiaddrs().length === 0 && init.listen.length > 0) {
    await node.stop();
    throw listenFailure(init.listen, undefined);
  }
  return node;
}

/** Noise, of whose failures with those who call, and calls by this machine's key, libp2p tells nobody. */
function watchedNoise({
  identity,
  site,
  onStranger,
  onOwnKey,
}: HostInit): ReturnType<typeof noise> {
  const make = noise({ prologueBytes: site.prologue });
  return (components) => {
    const encrypter = make(components);
    const secureInbound = encrypter.secureInbound.bind(encrypter);
    encrypter.secureInbound = async (stream, options) => {
      // What the type says is less than what libp2p hands over: the connection from an address.
      const { remoteAddr } = stream as Partial<MultiaddrConnection>;
      const host = remoteAddr && endpointOf(remoteAddr)?.host;
      try {
        const secured = await secureInbound(stream, options);
        if (host !== undefined && secured.remotePeer?.toString() === identity.peerId)
          onOwnKey?.(host);
        return secured;
      } catch (error) {
        onStranger?.(host);
        throw error;
      }
    };
    return encrypter;
  };
}

/** Whether a dial ended at who holds this machine's own key: libp2p keeps no such connection. */
export function isOwnKeyRefusal(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isOwnKeyRefusal);
  return error instanceof Error && error.name === "InvalidPeerIdError";
}

/**
 * What was named to listen on, and of wildcards what is on meant interfaces. A node that has no such address, or
 * none yet, is met on loopback.
 */
function announced({ listen, isMeant }: HostInit): AnnounceFilter {
  const named = new Set(listen.map((text) => endpointOf(text)?.host));
  return (addresses) => {
    const real = new Set(ownAddresses(isMeant).map(({ address }) => address));
    const [inward, outward] = [true, false].map((within) =>
      addresses.filter((each) => isLoopback(endpointOf(each) ?? { host: "", port: 0 }) === within),
    ) as [typeof addresses, typeof addresses];
    const told = outward.filter((each) => {
      const { host = "" } = endpointOf(each) ?? {};
      return named.has(host) || real.has(host);
    });
    return told.length > 0 ? told : inward;
  };
}

type AnnounceFilter = (addresses: Multiaddr[]) => Multiaddr[];

function listenFailure(
  listen: readonly string[],
  cause: unknown,
): CodedError<"ERR_PORT_IN_USE" | "ERR_LISTEN"> {
  const text = cause instanceof Error ? describe(cause) : "";
  const places = listen.join(", ");
  if (cause === undefined || /EADDRINUSE/.test(text))
    return new CodedError(
      "ERR_PORT_IN_USE",
      `the swarm can't listen on ${places}: the port is in use; stop what uses it or set swarm.port`,
      { cause },
    );
  return new CodedError("ERR_LISTEN", `the swarm can't listen on ${places}; set swarm.listen`, {
    cause,
  });
}

function describe(error: Error): string {
  const inner = error instanceof AggregateError ? error.errors.map(String).join(" ") : "";
  return `${error.message} ${inner} ${error.cause instanceof Error ? describe(error.cause) : ""}`;
}
