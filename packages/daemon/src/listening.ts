import { createServer, type RequestListener, type Server } from "node:http";
import type { Socket } from "node:net";
import { CodedError } from "@shoal/runtime";

/** A server on one or more addresses, with one way to stop it. */
export interface Listening extends AsyncDisposable {
  /** `host:port` of each. */
  readonly addresses: readonly string[];
}

/** What a client may take of a server. Milliseconds, and connections. */
export interface HttpLimits {
  /** For a request's headers to arrive, from the connection's beginning or the headers' first byte. */
  readonly headersMs: number;
  /** For all of a request. */
  readonly requestMs: number;
  /** A connection without a request is kept for so long. */
  readonly keepAliveMs: number;
  /** A client that takes nothing of its answer for so long is gone. */
  readonly stalledMs: number;
  /** How often headers and requests are looked after. */
  readonly checkMs: number;
  /** On each address. Further ones are closed at once. */
  readonly connections: number;
}

const LIMITS: HttpLimits = {
  headersMs: 5000,
  requestMs: 30_000,
  // Go's clients keep idle connections for 30 to 120 s, and race with a server that closes sooner.
  keepAliveMs: 125_000,
  // An engine whose disk is busy may take nothing for a minute.
  stalledMs: 300_000,
  checkMs: 1000,
  // A machine that starts pulls some hundred images at once, and each leaves idle ones behind.
  connections: 1000,
};

/** A Range of 1,024 parts has 24 KiB, beyond Node's 16. */
const MAX_HEADER_BYTES = 64 * 1024;

interface Serving {
  readonly server: Server;
  /** Connections with a request under way. */
  readonly busy: Set<Socket>;
  readonly quiet: Set<Socket>;
}

export interface ListenInit {
  /** `host:port` each; one that this machine does not have is left out while another is there. */
  readonly addresses: readonly string[];
  /** Named in errors. */
  readonly setting: string;
  /** Sockets that listen already, in the place of `addresses`. @default none */
  readonly descriptors?: readonly number[] | undefined;
  /** Running answers have this long after the stop. Milliseconds. @default 10_000 */
  readonly graceMs?: number;
  /** @default those of the mirror */
  readonly limits?: HttpLimits;
}

/** Serves HTTP. @throws ERR_PORT_IN_USE, ERR_LISTEN */
export async function listenHttp(answer: RequestListener, init: ListenInit): Promise<Listening> {
  const servings: Serving[] = [];
  const addresses: string[] = [];
  const { limits = LIMITS } = init;
  let leftOut: CodedError | undefined;
  const { descriptors = [] } = init;
  for (const place of descriptors.length === 0 ? init.addresses : descriptors) {
    const server = createServer(
      {
        keepAliveTimeout: limits.keepAliveMs,
        headersTimeout: limits.headersMs,
        maxHeaderSize: MAX_HEADER_BYTES,
        requestTimeout: limits.requestMs,
        connectionsCheckingInterval: limits.checkMs,
      },
      answer,
    );
    server.setTimeout(limits.stalledMs);
    server.maxConnections = limits.connections;
    try {
      addresses.push(await listen(server, place));
      servings.push(watchConnections(server));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const failure = listenFailure(place, init.setting, error);
      if (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT") {
        leftOut = failure;
        continue;
      }
      await Promise.all(servings.map(async (other) => await stop(other, 0)));
      throw failure;
    }
  }
  // One of several may be missing, such as [::1] without IPv6; a server that nobody reaches is a mistake.
  if (servings.length === 0 && leftOut !== undefined) throw leftOut;
  return {
    addresses,
    async [Symbol.asyncDispose]() {
      await Promise.all(
        servings.map(async (serving) => await stop(serving, init.graceMs ?? 10_000)),
      );
    },
  };
}

/** @param place `host:port`, or the descriptor of a socket that listens there */
async function listen(server: Server, place: string | number): Promise<string> {
  const where =
    typeof place === "number" ? { fd: place } : { ...hostAndPort(place), ipv6Only: true };
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, resolve);
  });
  const bound = server.address();
  if (typeof bound === "object" && bound !== null) {
    const host = typeof place === "string" ? place.slice(0, place.lastIndexOf(":")) : bound.address;
    return `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${bound.port}`;
  }
  // Whatever is on a Unix socket can't be told to be on this machine's loopback.
  server.close();
  throw Object.assign(new Error("a socket that is not of TCP was handed over"), {
    code: "ENOTSUP",
  });
}

function hostAndPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replaceAll(/[[\]]/g, "");
  return { host, port: Number(address.slice(colon + 1)) };
}

/** Stops a server: connections without a request go at once, one that was never asked on too; the others have their time. */
async function stop({ server, busy, quiet }: Serving, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  for (const socket of quiet) socket.destroy();
  const timer = setTimeout(() => {
    for (const socket of busy) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}

/** Knows which connections have a request under way; Node counts those that were never asked on among them. */
function watchConnections(server: Server): Serving {
  const serving: Serving = { server, busy: new Set(), quiet: new Set() };
  server.on("connection", (socket) => {
    serving.quiet.add(socket);
    socket.once("close", () => {
      serving.quiet.delete(socket);
      serving.busy.delete(socket);
    });
  });
  server.on("request", (request, response) => {
    const { socket } = request;
    serving.quiet.delete(socket);
    serving.busy.add(socket);
    response.once("close", () => {
      serving.busy.delete(socket);
      if (socket.destroyed) return;
      if (server.listening) serving.quiet.add(socket);
      else socket.end();
    });
  });
  return serving;
}

function listenFailure(place: string | number, setting: string, cause: unknown): CodedError {
  const { code } = cause as NodeJS.ErrnoException;
  if (typeof place === "number")
    return new CodedError(
      "ERR_LISTEN",
      `can't serve on descriptor ${place} that was handed over for ${setting} (${code}); have the service manager's socket unit listen on a TCP address`,
      { cause, details: { descriptor: place } },
    );
  const address = place;
  if (code === "EADDRINUSE")
    return new CodedError(
      "ERR_PORT_IN_USE",
      `${address} is in use; stop what listens there, another Shoal perhaps, or set ${setting}`,
      { cause, details: { address } },
    );
  return new CodedError("ERR_LISTEN", `can't listen on ${address} (${code}); set ${setting}`, {
    cause,
    details: { address },
  });
}
