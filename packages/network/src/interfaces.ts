import { networkInterfaces } from "node:os";

/**
 * Bridges, ends and tunnels of container engines, hypervisors and VPNs: no machines of the site are behind them.
 * Docker's own bridges are `br-` and 12 hex digits; `br-lan` and `br-ex` are where a router's or a cloud's machines are.
 */
const VIRTUAL =
  /^(docker|br-[0-9a-f]{12}$|br-(int|tun)$|veth|vnet|cni|flannel|cali|cilium|weave|kube|nodelocaldns|nerdctl|podman|virbr|vmnet|vboxnet|lxc|lxd|incus|dummy|tailscale|wg|nordlynx|zt|tun|tap|ppp|ipsec)/;

/** An address of this machine, with its network. */
export interface OwnAddress {
  /** The interface's. */
  readonly name: string;
  readonly address: string;
  readonly cidr: string;
  readonly internal: boolean;
}

/** Which interfaces other members are behind, by their names. */
export type InterfaceRule = (name: string) => boolean;

export interface InterfaceRuleInit {
  /** Names, `*` for any letters. Empty: all but those of container engines, hypervisors and VPNs. */
  readonly only?: readonly string[];
  /** Those that are left out of these. */
  readonly except?: readonly string[];
}

export function interfaceRule({ only = [], except = [] }: InterfaceRuleInit): InterfaceRule {
  const wanted = only.map(pattern);
  const unwanted = except.map(pattern);
  return (name) =>
    (wanted.length === 0 ? !VIRTUAL.test(name) : wanted.some((each) => each.test(name))) &&
    !unwanted.some((each) => each.test(name));
}

function pattern(text: string): RegExp {
  const literal = text.split("*").map((part) => part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${literal.join(".*")}$`);
}

/** The addresses that this machine has now on interfaces that the rule takes; loopback among them. */
export function ownAddresses(isMeant: InterfaceRule): OwnAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list]) =>
    (list ?? []).flatMap(({ address, cidr, internal }) =>
      cidr === null || !(internal || isMeant(name)) ? [] : [{ name, address, cidr, internal }],
    ),
  );
}
