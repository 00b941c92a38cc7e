import { BlockList, isIP, isIPv6 } from "node:net";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { CodedError } from "@shoal/runtime";
import type { OwnAddress } from "./interfaces.ts";

/**
 * Where a peer listens: an address and a TCP port. A link-local IPv6 address has the interface behind it by which
 * it is reached from here, as in `fe80::1%eth0` (RFC 4007, section 11).
 */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Whether it means something on one link alone. */
export function isLinkLocal(host: string): boolean {
  return isIPv6(host) && /^fe[89ab]/i.test(host);
}

export function isLoopback({ host }: Endpoint): boolean {
  return host === "::1" || host.startsWith("127.");
}

/** Without the interface, which is nobody else's business. */
export function withoutZone(host: string): string {
  return host.replace(/%.*$/, "");
}

/** Whether an address is in a network that one of the given interfaces is in, and by the interface that it names. */
export function isOnLink(host: string, own: readonly OwnAddress[]): boolean {
  const family = isIPv6(host) ? "ipv6" : "ipv4";
  const zone = /%(.*)$/.exec(host)?.[1];
  const networks = new BlockList();
  for (const { name, cidr } of own) {
    const [network, bits] = cidr.split("/") as [string, string];
    const isReached = zone === undefined || zone === name;
    if (isReached && isIPv6(network) === (family === "ipv6"))
      networks.addSubnet(network, Number(bits), family);
  }
  return networks.check(withoutZone(host), family);
}

/**
 * The ways from here to what others call an address: a link-local one may be behind any interface that has such
 * an address itself, unless it says which.
 */
export function waysTo(endpoint: Endpoint, own: readonly OwnAddress[]): readonly Endpoint[] {
  const { host, port } = endpoint;
  if (!isLinkLocal(host) || host.includes("%")) return [endpoint];
  return own
    .filter(({ address }) => isLinkLocal(address))
    .map(({ name }) => ({ host: `${host}%${name}`, port }));
}

/** The IP address and port of a TCP multiaddr; `undefined` for any other kind. */
export function endpointOf(address: Multiaddr | string): Endpoint | undefined {
  const text = address.toString();
  const match =
    /^\/(?:ip4|(?:ip6zone\/([A-Za-z0-9._:@-]{1,15})\/)?ip6)\/([^/%]+)\/tcp\/([0-9]{1,5})(?:\/p2p\/[^/]+)?$/.exec(
      text,
    );
  if (match === null || isIP(match[2]!) === 0) return undefined;
  const port = Number(match[3]);
  if (port < 1 || port > 65_535) return undefined;
  const zone = match[1] === undefined || !isLinkLocal(match[2]!) ? "" : `%${match[1]}`;
  return { host: `${match[2]!}${zone}`, port };
}

export function toMultiaddr({ host, port }: Endpoint): Multiaddr {
  if (!isIPv6(host)) return multiaddr(`/ip4/${host}/tcp/${port}`);
  const [address, zone] = host.split("%") as [string, string?];
  return multiaddr(`${zone === undefined ? "" : `/ip6zone/${zone}`}/ip6/${address}/tcp/${port}`);
}

/** `host:port`, an IPv6 address in brackets. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Parses `host:port`, `[v6]:port` or `host` of the configuration. @throws ERR_PEER_ADDRESS */
export function parsePeerAddress(text: string, defaultPort: number): Endpoint {
  const match =
    /^(?:\[([0-9a-fA-F:.]+(?:%[A-Za-z0-9._@-]{1,15})?)\]|([^:\s[\]]+))(?::([0-9]{1,5}))?$/.exec(
      text.trim(),
    );
  const bare = isIPv6(text.trim()) ? text.trim() : undefined;
  const host = bare ?? match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  const valid = host !== undefined && (isIP(host) !== 0 || /^[A-Za-z0-9._-]{1,253}$/.test(host));
  if (valid && port >= 1 && port <= 65_535) return { host, port };
  throw new CodedError(
    "ERR_PEER_ADDRESS",
    `not the address of a peer: ${JSON.stringify(text.slice(0, 120))}; write host:port, for example 10.0.0.7:5056`,
  );
}
