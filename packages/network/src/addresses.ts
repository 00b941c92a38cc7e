import { networkInterfaces } from "node:os";
import { BlockList, isIP, isIPv6 } from "node:net";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { CodedError } from "@shoal/runtime";

/** Bridges and tunnels of container engines, hypervisors and VPNs: no machines of the site are behind them. */
const VIRTUAL =
  /^(docker|br-|veth|cni|flannel|cali|virbr|lxc|lxd|podman|kube|tailscale|wg|zt|tun|tap)/;

/** Where a peer listens: an address and a TCP port. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Addresses of this machine's real interfaces, with their networks. */
export interface OwnAddress {
  readonly name: string;
  readonly address: string;
  readonly cidr: string;
  readonly internal: boolean;
}

export function ownAddresses(): OwnAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list]) =>
    VIRTUAL.test(name)
      ? []
      : (list ?? []).flatMap(({ address, cidr, internal }) =>
          cidr === null ? [] : [{ name, address, cidr, internal }],
        ),
  );
}

/** Whether an address is in a network that one of the given interfaces is in. */
export function isOnLink(host: string, own: readonly OwnAddress[]): boolean {
  const family = isIPv6(host) ? "ipv6" : "ipv4";
  const networks = new BlockList();
  for (const { cidr } of own) {
    const [network, bits] = cidr.split("/") as [string, string];
    if (isIPv6(network) === (family === "ipv6")) networks.addSubnet(network, Number(bits), family);
  }
  return networks.check(host, family);
}

/** The IP address and port of a TCP multiaddr; `undefined` for any other kind. */
export function endpointOf(address: Multiaddr | string): Endpoint | undefined {
  const text = address.toString();
  const match = /^\/ip[46](?:zone\/[^/]+\/ip6)?\/([^/]+)\/tcp\/([0-9]{1,5})(?:\/p2p\/[^/]+)?$/.exec(
    text,
  );
  if (match === null || isIP(match[1]!) === 0) return undefined;
  const port = Number(match[2]);
  return port >= 1 && port <= 65_535 ? { host: match[1]!, port } : undefined;
}

export function toMultiaddr({ host, port }: Endpoint): Multiaddr {
  return multiaddr(`/${isIPv6(host) ? "ip6" : "ip4"}/${host}/tcp/${port}`);
}

/** `host:port`, an IPv6 address in brackets. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Parses `host:port`, `[v6]:port` or `host` of the configuration. @throws ERR_PEER_ADDRESS */
export function parsePeerAddress(text: string, defaultPort: number): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+))(?::([0-9]{1,5}))?$/.exec(text.trim());
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
