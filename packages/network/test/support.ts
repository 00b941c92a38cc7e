import { setTimeout as delay } from "node:timers/promises";
import { noise } from "@chainsafe/libp2p-noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { createLibp2p, type Libp2p } from "libp2p";
import {
  createEphemeralIdentity,
  createNetwork,
  type Identity,
  type Network,
  type NetworkComponents,
  type NetworkInit,
} from "../src/index.ts";

/** A started member on loopback, without a handler. */
export async function createMember(
  init: NetworkInit,
  change: Partial<
    Pick<
      NetworkComponents,
      "identity" | "roster" | "keepRecord" | "issuer" | "audit" | "clock" | "random"
    >
  > = {},
): Promise<Network> {
  const network = createNetwork(
    {
      clock: systemClock,
      random: Math.random,
      ...change,
      identity: change.identity ?? (await createEphemeralIdentity()),
      logger: silentLogger,
      metrics: noMetrics,
    },
    { listen: ["127.0.0.1"], port: 0, mdns: false, ...init },
  );
  await network.start();
  return network;
}

export async function until(what: () => boolean, limitMs = 5000): Promise<void> {
  const startMs = performance.now();
  while (!what()) {
    if (performance.now() - startMs > limitMs)
      throw new Error(`not within ${limitMs} ms: ${String(what)}`);
    await delay(10);
  }
}

export function portOf(member: Network): number {
  return Number(member.listenAddresses()[0]!.split(":").at(-1));
}

export function multiaddrOf(member: Network): Multiaddr {
  return multiaddr(`/ip4/127.0.0.1/tcp/${portOf(member)}`);
}

/** A libp2p client that is no daemon of ours. */
export async function createStranger(
  prologueBytes?: Uint8Array,
  identity?: Identity,
): Promise<Libp2p> {
  return await createLibp2p({
    ...(identity === undefined ? {} : { privateKey: identity.privateKey }),
    transports: [tcp()],
    connectionEncrypters: [noise(prologueBytes === undefined ? {} : { prologueBytes })],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
  });
}
