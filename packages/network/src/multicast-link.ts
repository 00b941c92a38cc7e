import { createSocket, type Socket } from "node:dgram";
import { isIPv4, isIPv6 } from "node:net";
import { isOnLink } from "./addresses.ts";
import type { OwnAddress } from "./interfaces.ts";

/** One way on which multicast DNS is spoken: an IPv4 address of this machine, or IPv6 on one of its interfaces. */
export interface MulticastLink {
  /** The address, or `::%` and the interface: what the kernel is told to join by. */
  readonly key: string;
  readonly own: OwnAddress;
  readonly options: {
    readonly type: "udp4" | "udp6";
    readonly ip: string;
    readonly interface: string;
    readonly bind: string;
  };
  /** Whether who sent from there is on this link: a socket hears the groups that any socket of the machine has joined. */
  hears(address: string): boolean;
}

export function linksOf(own: readonly OwnAddress[]): readonly MulticastLink[] {
  const names = new Set(own.filter(({ address }) => isIPv6(address)).map(({ name }) => name));
  return [
    ...own.filter(({ address }) => isIPv4(address)).map((each) => linkOver(each, [each])),
    ...[...names].map((name) => {
      const addresses = own.filter((each) => each.name === name && isIPv6(each.address));
      const linkLocal = addresses.find(({ address }) => /^fe[89ab]/i.test(address));
      return linkOver(linkLocal ?? addresses[0]!, addresses);
    }),
  ];
}

function linkOver(own: OwnAddress, addresses: readonly OwnAddress[]): MulticastLink {
  const isFour = isIPv4(own.address);
  const key = isFour ? own.address : `::%${own.name}`;
  return {
    key,
    own,
    options: {
      type: isFour ? "udp4" : "udp6",
      ip: isFour ? "224.0.0.251" : "ff02::fb",
      interface: key,
      bind: isFour ? "0.0.0.0" : "::",
    },
    hears: (address) => isOnLink(address, addresses),
  };
}

/** A socket for a link, which joins its group anew. */
export function createMulticastSocket({ options }: MulticastLink): {
  readonly socket: Socket;
  rejoin(): void;
} {
  const { type, ip, interface: link } = options;
  const socket = createSocket({ type, reuseAddr: true, ipv6Only: type === "udp6" });
  let isListening = false;
  socket.once("listening", () => {
    isListening = true;
  });
  socket.once("close", () => {
    isListening = false;
  });
  return {
    socket,
    rejoin() {
      if (!isListening) return;
      try {
        socket.addMembership(ip, link);
        socket.setMulticastInterface(link);
      } catch {
        // It has joined already, or the interface is gone: then so is this link, at the next look.
      }
    },
  };
}
