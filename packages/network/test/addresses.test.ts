import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  endpointOf,
  formatEndpoint,
  isOnLink,
  parsePeerAddress,
  toMultiaddr,
  waysTo,
} from "../src/addresses.ts";
import { interfaceRule, type OwnAddress } from "../src/interfaces.ts";

const own = (name: string, address: string, bits: number): OwnAddress => ({
  name,
  address,
  cidr: `${address}/${bits}`,
  internal: false,
});

describe("link-local addresses", () => {
  const interfaces = [
    own("eth0", "10.0.0.5", 24),
    own("eth0", "fe80::5", 64),
    own("eth1", "fe80::6", 64),
    own("eth2", "fd00::5", 64),
  ];

  it("are behind any interface that has one, unless it is known which", () => {
    const hosts = (host: string) => waysTo({ host, port: 1 }, interfaces).map((way) => way.host);
    expect(hosts("fe80::9")).toEqual(["fe80::9%eth0", "fe80::9%eth1"]);
    expect(hosts("fe80::9%eth7")).toEqual(["fe80::9%eth7"]);
    expect(hosts("fd00::9")).toEqual(["fd00::9"]);
    expect(hosts("10.0.0.9")).toEqual(["10.0.0.9"]);
  });

  it("are on link by the interface that they name alone", () => {
    expect(isOnLink("fe80::9%eth1", interfaces)).toBe(true);
    expect(isOnLink("fe80::9%eth2", interfaces)).toBe(false);
    expect(isOnLink("fe80::9%eth7", interfaces)).toBe(false);
    expect(isOnLink("fd00::9", interfaces)).toBe(true);
    expect(isOnLink("fd01::9", interfaces)).toBe(false);
    expect(isOnLink("10.0.0.9", interfaces)).toBe(true);
  });

  it("keep their interface in multiaddrs and in text", () => {
    const zone = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/);
    const group = fc.integer({ min: 1, max: 0xffff });
    fc.assert(
      fc.property(zone, group, fc.integer({ min: 1, max: 65_535 }), (name, last, port) => {
        const endpoint = { host: `fe80::${last.toString(16)}%${name}`, port };
        expect(endpointOf(toMultiaddr(endpoint))).toEqual(endpoint);
        expect(parsePeerAddress(formatEndpoint(endpoint), 1)).toEqual(endpoint);
      }),
    );
  });

  it.each([
    "/ip6zone//ip6/fe80::1/tcp/1",
    "/ip6zone/a b/ip6/fe80::1/tcp/1",
    "/ip6/fe80::1%eth0/tcp/1",
    "/ip6zone/eth0/ip4/10.0.0.1/tcp/1",
    "/ip6/fe80::1/tcp/0",
  ])("are nothing else: %s", (text) => expect(endpointOf(text)).toBe(undefined));
});

describe("interfaces", () => {
  it.each(["eth0", "enp3s0", "wlan0", "br0", "br-lan", "br-ex", "bond0", "eth0.7", "usb0"])(
    "are meant: %s",
    (name) => expect(interfaceRule({})(name)).toBe(true),
  );

  it.each([
    "docker0",
    "br-0123456789ab",
    "veth1a2b3c",
    "cni0",
    "flannel.1",
    "cali1234",
    "virbr0",
    "tun0",
    "wg0",
    "tailscale0",
    "kube-ipvs0",
    "zt7nnig26",
    "vnet3",
  ])("of container engines, hypervisors and VPNs are not: %s", (name) =>
    expect(interfaceRule({})(name)).toBe(false),
  );

  it("are those that are named, where some are, without those that are left out", () => {
    const isMeant = interfaceRule({ only: ["eth*", "wg0"], except: ["eth1*"] });
    expect(["eth0", "eth1", "eth10", "wg0", "wg01", "enp1"].map(isMeant)).toEqual([
      true,
      false,
      false,
      true,
      false,
      false,
    ]);
    expect(interfaceRule({ only: ["a.c"] })("abc")).toBe(false);
    expect(interfaceRule({ except: ["eth0"] })("docker0")).toBe(false);
  });
});
