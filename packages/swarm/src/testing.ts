/**
 * A site in memory: transports that behave as the network's do, and can be cut and killed.
 *
 * @packageDocumentation
 */
import { createHash } from "node:crypto";
import { type Clock, CodedError, raceSignal, sleep, systemClock } from "@shoal/runtime";
import { testPeerId } from "./test-peer-id.ts";
import type {
  FrameHandler,
  Lane,
  MembershipEvents,
  PeerIdString,
  PeerTransport,
} from "./transport.ts";

export { testPeerId };
export {
  type SimulationResult,
  type Situation,
  simulate,
  type Whom,
} from "./simulator/simulate.ts";

/** A member's transport with the switches of a test. */
export interface MemoryTransport extends PeerTransport {
  /** Frames asked of this member, by lane. */
  readonly answered: Readonly<Record<Lane, number>>;
  /** Bytes that this member has sent, by lane. */
  readonly sentBytes: Readonly<Record<Lane, number>>;
  /** Cuts every connection as the death of the process does. */
  kill(): void;
  /** Requests are taken and never answered. */
  freeze(): void;
}

export interface MemorySite {
  /** Admits a member, with its zone's label if it has one; everybody hears of it. */
  join(name: string, zone?: string): MemoryTransport;
}

/** @param init latency is one way, in milliseconds */
export function createMemorySite(
  init: { readonly latencyMs?: number; readonly clock?: Clock } = {},
): MemorySite {
  const clock = init.clock ?? systemClock;
  const latencyMs = init.latencyMs ?? 0;
  const nodes = new Map<PeerIdString, Node>();

  interface Node {
    readonly handler: Promise<FrameHandler>;
    readonly alive: AbortController;
    frozen: boolean;
    readonly answered: Record<Lane, number>;
    readonly sentBytes: Record<Lane, number>;
    readonly zone: string | undefined;
    emit(type: keyof MembershipEvents, peer: PeerIdString): void;
  }

  function unreachable(): CodedError<"ERR_PEER_UNREACHABLE"> {
    return new CodedError("ERR_PEER_UNREACHABLE", "the member is not there");
  }

  async function travel(signal: AbortSignal): Promise<void> {
    if (latencyMs > 0) await sleep(clock, latencyMs, { signal });
  }

  async function deliver(
    from: PeerIdString,
    to: Node,
    lane: Lane,
    frame: Uint8Array,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    await travel(signal);
    to.answered[lane] += 1;
    if (to.frozen) await new Promise<never>(() => undefined);
    const handler = await to.handler;
    // As over the wire: what failed there is not told here.
    const sent: ((free: boolean) => void)[] = [];
    const options = {
      signal,
      afterSent: (callback: (free: boolean) => void) => void sent.push(callback),
    };
    try {
      const parts = await handler(from, lane, Uint8Array.from(frame), options).catch(() => {
        throw unreachable();
      });
      const reply = Buffer.concat(parts);
      to.sentBytes[lane] += reply.length;
      await travel(signal);
      return new Uint8Array(reply);
    } finally {
      for (const callback of sent) callback(false);
    }
  }

  return {
    join(name, zone) {
      const self = testPeerId(name);
      const listeners = new Map<keyof MembershipEvents, Set<(peer: PeerIdString) => void>>();
      const handler = Promise.withResolvers<FrameHandler>();
      const node: Node = {
        handler: handler.promise,
        alive: new AbortController(),
        frozen: false,
        answered: { control: 0, bulk: 0 },
        sentBytes: { control: 0, bulk: 0 },
        zone,
        emit(type, peer) {
          for (const listener of listeners.get(type) ?? []) listener(peer);
        },
      };
      nodes.set(self, node);
      for (const [peer, other] of nodes) if (peer !== self) other.emit("memberUp", self);

      return {
        self,
        site: "memory",
        answered: node.answered,
        sentBytes: node.sentBytes,
        members: () => (nodes.has(self) ? [...nodes.keys()].filter((peer) => peer !== self) : []),
        zoneOf: (peer) => nodes.get(peer)?.zone,
        async request(peer, lane, frame, options = {}) {
          const other = nodes.get(peer);
          if (other === undefined || !nodes.has(self)) throw unreachable();
          const cut = AbortSignal.any([node.alive.signal, other.alive.signal]);
          const signal =
            options.signal === undefined ? cut : AbortSignal.any([cut, options.signal]);
          return await raceSignal(deliver(self, other, lane, frame, signal), signal);
        },
        handle: (answer) => handler.resolve(answer),
        on(type, listener) {
          const own = listeners.get(type) ?? new Set();
          listeners.set(type, own);
          own.add(listener);
          return {
            [Symbol.dispose]() {
              own.delete(listener);
            },
          };
        },
        sign: async (message) => signature(self, message),
        verify: async (peer, message, claimed) =>
          Buffer.compare(signature(peer, message), claimed) === 0,
        kill() {
          nodes.delete(self);
          node.alive.abort(unreachable());
          for (const other of nodes.values()) other.emit("memberDown", self);
        },
        freeze() {
          node.frozen = true;
        },
      };
    },
  };
}

function signature(peer: PeerIdString, message: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(peer).update(message).digest());
}
