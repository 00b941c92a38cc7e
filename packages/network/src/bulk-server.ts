import { constants } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, isIPv6, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { Clock, Logger } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import type { BulkKeys } from "./bulk-keys.ts";
import { unreachable } from "./faults.ts";
import type { FramedStream, FrameLimits } from "./frames.ts";
import { frameSocket } from "./socket-frames.ts";

/** The one cipher suite of the bulk port, the cheapest where processors have AES instructions. */
export const BULK_CIPHER = "TLS_AES_128_GCM_SHA256";
const HANDSHAKE_MS = 5000;
const MAX_HANDSHAKES = 64;
/** What one address may have of them: members begin two at a time. */
const ADDRESS_SHARE = 1 / 4;
const MAX_CONNECTIONS = 600;
const CONNECTIONS_PER_PEER = 16;
/** A connection without a finished request or answer for so long is closed. */
const IDLE_MS = 60_000;
const SWEEP_MS = 15_000;

export interface BulkServerInit {
  readonly hosts: readonly string[];
  /** TCP port; when it is taken, or 0, any free one. */
  readonly port: number;
  readonly keys: BulkKeys;
  readonly limits: FrameLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Answers a connection's requests until it ends. `alive` is to be called with each; it throws when the key has ended. */
  readonly serve: (stream: FramedStream, peer: PeerIdString, alive: () => void) => Promise<void>;
}

/** The TLS port of the bulk lane, which only holders of a granted key get through. */
export interface BulkServer extends AsyncDisposable {
  readonly port: number;
  /** Cuts a member's connections. */
  drop(peer: PeerIdString): void;
}

interface Served {
  readonly peer: PeerIdString;
  readonly stream: FramedStream;
  activeMs: number;
}

/** @returns the listening port, or `undefined` when no address can be listened on */
export async function startBulkServer(init: BulkServerInit): Promise<BulkServer | undefined> {
  const { keys, clock, logger } = init;
  const identities = new WeakMap<TLSSocket, string>();
  const served = new Set<Served>();
  /** By the other end's address. */
  const handshakes = new Map<string, Socket>();

  const tls = createTlsServer({
    ciphers: BULK_CIPHER,
    minVersion: "TLSv1.3",
    ca: [],
    // A session that is resumed would not ask for its key again.
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: HANDSHAKE_MS,
    pskCallback(socket, identity) {
      const granted = keys.find(identity);
      if (granted === undefined) return null;
      identities.set(socket, identity);
      return granted.key;
    },
  });
  tls.on("tlsClientError", (error, socket) => {
    logger.debug({ error }, "a connection to the bulk port was not let in");
    // Node leaves one open whose time for the handshake is up.
    socket.destroy();
  });
  tls.on("secureConnection", (socket) => {
    handshakes.delete(otherEnd(socket));
    const identity = identities.get(socket) ?? "";
    const granted = keys.find(identity);
    if (granted === undefined || countOf(granted.peer) >= CONNECTIONS_PER_PEER) socket.destroy();
    else void serve(socket, identity, granted.peer);
  });

  function countOf(peer: PeerIdString): number {
    return [...served].filter((connection) => connection.peer === peer).length;
  }

  async function serve(socket: TLSSocket, identity: string, peer: PeerIdString): Promise<void> {
    socket.setNoDelay(true);
    const { stream } = frameSocket(init.limits, () => socket);
    const connection: Served = { peer, stream, activeMs: clock.now() };
    served.add(connection);
    try {
      await init.serve(
        {
          signal: stream.signal,
          copies: stream.copies,
          get fault() {
            return stream.fault;
          },
          get open() {
            return stream.open;
          },
          async read(options) {
            const frame = await stream.read(options);
            connection.activeMs = clock.now();
            return frame;
          },
          async write(parts, options) {
            await stream.write(parts, options);
            connection.activeMs = clock.now();
          },
          abort: stream.abort,
        },
        peer,
        () => {
          if (keys.find(identity) === undefined) throw unreachable("has a key that has ended");
        },
      );
      socket.end();
    } catch (error) {
      logger.debug({ error, peer }, "a bulk connection has ended");
      stream.abort(error instanceof Error ? error : unreachable("was cut"));
    } finally {
      served.delete(connection);
    }
  }

  function mayBegin({ remoteAddress }: Socket): boolean {
    const same = [...handshakes.values()].filter((other) => other.remoteAddress === remoteAddress);
    return handshakes.size < MAX_HANDSHAKES && same.length < MAX_HANDSHAKES * ADDRESS_SHARE;
  }

  function accept(socket: Socket): void {
    if (!mayBegin(socket) || served.size >= MAX_CONNECTIONS) {
      socket.destroy();
      return;
    }
    const key = otherEnd(socket);
    const end = (): void => {
      if (handshakes.get(key) === socket) handshakes.delete(key);
    };
    handshakes.set(key, socket);
    socket.once("close", end);
    clock.schedule(HANDSHAKE_MS, end);
    tls.emit("connection", socket);
  }

  let sweeper = clock.schedule(SWEEP_MS, sweep);
  function sweep(): void {
    const idleSinceMs = clock.now() - IDLE_MS;
    for (const { stream, activeMs } of served)
      if (activeMs < idleSinceMs) stream.abort(unreachable("was silent"));
    sweeper = clock.schedule(SWEEP_MS, sweep);
  }

  const servers = await listenOn(init, accept);
  const [first] = servers;
  if (first === undefined) {
    sweeper[Symbol.dispose]();
    return undefined;
  }
  return {
    port: (first.address() as AddressInfo).port,
    drop(peer) {
      for (const connection of served)
        if (connection.peer === peer) connection.stream.abort(unreachable("is no member"));
    },
    async [Symbol.asyncDispose]() {
      sweeper[Symbol.dispose]();
      const closed = servers.map(async (server) => await once(server.close(), "close"));
      for (const socket of handshakes.values()) socket.destroy();
      for (const { stream } of served) stream.abort(unreachable("is leaving"));
      await Promise.all(closed);
    },
  };
}

function otherEnd({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Listens on every host that can be had, all on the same port. */
async function listenOn(
  { hosts, port, logger }: BulkServerInit,
  accept: (socket: Socket) => void,
): Promise<Server[]> {
  const servers: Server[] = [];
  let chosen = port;
  for (const host of hosts)
    for (const wanted of servers.length === 0 && port !== 0 ? [port, 0] : [chosen]) {
      const server = createServer(accept);
      try {
        server.listen({ host, port: wanted, ipv6Only: isIPv6(host) });
        await once(server, "listening");
        server.unref();
        servers.push(server);
        chosen = (server.address() as AddressInfo).port;
        break;
      } catch (error) {
        logger.info({ error, host, port: wanted }, "the bulk port can't be had");
      }
    }
  return servers;
}
