import type { Server } from "node:net";
import type { Listener, Transport } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { type Endpoint, endpointOf, isLinkLocal, toMultiaddr } from "./addresses.ts";

type Making = ReturnType<typeof tcp>;
type ListenerOptions = Parameters<Transport["createListener"]>[0];

/**
 * libp2p's TCP, which also reaches link-local IPv6 addresses, and is reached at them. By itself it dials them
 * without their interface, which the kernel refuses, and closes connections from them, for which it has no multiaddr.
 */
export function scopedTcp(init: Parameters<typeof tcp>[0]): Making {
  const make = tcp(init);
  return (components) => {
    const transport = make(components);
    const dial = transport.dial.bind(transport);
    const createListener = transport.createListener.bind(transport);
    transport.dial = async (address, options) => {
      const host = endpointOf(address)?.host;
      // What is among the options is given to `net.connect` in the place of what the address says.
      const scope = host?.includes("%") === true ? { host } : {};
      return await dial(address, { ...options, ...scope });
    };
    transport.createListener = (options) => {
      const callers = new Map<string, Endpoint>();
      const listener = createListener({ ...options, upgrader: upgraderOf(options, callers) });
      hideZones(listener, callers);
      return listener;
    };
    return transport;
  };
}

/** Who calls from a link-local address gets through libp2p under the address alone. */
function hideZones(listener: Listener, callers: Map<string, Endpoint>): void {
  const { server } = listener as Partial<{ readonly server: Server }>;
  server?.prependListener("connection", (socket) => {
    const { remoteAddress: host, remotePort: port } = socket;
    if (host === undefined || port === undefined || !host.includes("%")) return;
    const [address] = host.split("%") as [string];
    const key = toMultiaddr({ host: address, port }).toString();
    callers.set(key, { host, port });
    socket.once("close", () => callers.delete(key));
    Object.defineProperty(socket, "remoteAddress", { value: address });
  });
}

/** And has its interface again before anybody asks where it is. */
function upgraderOf(
  { upgrader }: ListenerOptions,
  callers: ReadonlyMap<string, Endpoint>,
): ListenerOptions["upgrader"] {
  const scoped = Object.create(upgrader) as typeof upgrader;
  scoped.upgradeInbound = async (connection, options) => {
    const { host = "" } = endpointOf(connection.remoteAddr) ?? {};
    const caller = isLinkLocal(host) ? callers.get(connection.remoteAddr.toString()) : undefined;
    if (caller !== undefined) connection.remoteAddr = toMultiaddr(caller);
    await upgrader.upgradeInbound(connection, options);
  };
  return scoped;
}
