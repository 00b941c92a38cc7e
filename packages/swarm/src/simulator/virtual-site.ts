import { CodedError } from "@shoal/runtime";
import type {
  FrameHandler,
  Lane,
  MembershipEvents,
  PeerIdString,
  PeerTransport,
} from "../transport.ts";
import type { EventQueue } from "./event-queue.ts";
import type { FairLinks, Flow, LinkIndex } from "./fair-links.ts";
import { joinFrame } from "./zeros.ts";

/** Frames up to this pass with the latency alone: they are not what fills a link. */
const SMALL_BYTES = 4096;
const SIGNATURE_BYTES = 64;

/** What a member has sent. */
export interface Sent {
  /** Control requests and answers, and requests for blocks. */
  messages: number;
  blockRequests: number;
  /** Blocks that were refused for want of a slot. */
  busy: number;
  readonly byType: Map<string, number>;
}

export interface VirtualMember {
  readonly transport: PeerTransport;
  readonly sent: Sent;
  readonly up: LinkIndex;
  readonly down: LinkIndex;
  /** The process dies: its connections close, and everybody hears of it. */
  kill(): void;
}

/** A site whose members have all known each other for long. */
export interface VirtualSite {
  /** @param rack the zone that the member is in, and the links that lead out of it and into it */
  add(peer: PeerIdString, linkBytesPerMs: number, rack?: Rack): VirtualMember;
}

/** Machines behind one link. */
export interface Rack {
  readonly zone: string;
  readonly up: LinkIndex;
  readonly down: LinkIndex;
}

interface Node {
  readonly peer: PeerIdString;
  readonly rack: Rack | undefined;
  readonly up: LinkIndex;
  readonly down: LinkIndex;
  readonly sent: Sent;
  readonly handler: PromiseWithResolvers<FrameHandler>;
  readonly listeners: Map<keyof MembershipEvents, Set<(peer: PeerIdString) => void>>;
  /** Requests that this member has made or is answering. */
  readonly requests: Set<Request>;
  others: PeerIdString[] | undefined;
  alive: boolean;
}

interface Request {
  fail(error: unknown): void;
}

export function createVirtualSite(
  components: { readonly queue: EventQueue; readonly links: FairLinks },
  init: {
    readonly latencyMs: number;
    /** Names a control frame, for statistics. */
    readonly typeOf?: ((frame: Uint8Array) => string) | undefined;
  },
): VirtualSite {
  const { queue, links } = components;
  const nodes = new Map<PeerIdString, Node>();
  let racked = false;

  function send(from: Node, to: Node, lane: Lane, frame: Uint8Array, signal?: AbortSignal) {
    const result = Promise.withResolvers<Uint8Array>();
    const stopped = new AbortController();
    let flow: Flow | undefined;
    let settled = false;
    let afterSent: ((free: boolean) => void)[] = [];

    function sentAll(): void {
      for (const callback of afterSent.splice(0)) callback(false);
    }
    function settle(): boolean {
      if (settled) return false;
      settled = true;
      signal?.removeEventListener("abort", onAbort);
      from.requests.delete(request);
      to.requests.delete(request);
      return true;
    }
    function fail(error: unknown): void {
      if (!settle()) return;
      flow?.cancel();
      stopped.abort(error);
      sentAll();
      result.reject(error);
    }
    function onAbort(): void {
      fail(signal?.reason);
    }
    const request: Request = { fail };

    function deliver(parts: readonly Uint8Array[]): void {
      if (settle()) result.resolve(joinFrame(parts));
    }
    function answer(parts: readonly Uint8Array[]): void {
      if (settled) return;
      if (lane === "control") to.sent.messages += 1;
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      if (length <= SMALL_BYTES) {
        if (lane === "bulk") from.sent.busy += 1;
        sentAll();
        queue.at(queue.now() + init.latencyMs, () => deliver(parts));
        return;
      }
      flow = links.start(pathOf(to, from), length, () => {
        sentAll();
        queue.at(queue.now() + init.latencyMs, () => deliver(parts));
        return 0;
      });
    }

    from.sent.messages += 1;
    if (lane === "bulk") from.sent.blockRequests += 1;
    else if (init.typeOf !== undefined) {
      const type = init.typeOf(frame);
      from.sent.byType.set(type, (from.sent.byType.get(type) ?? 0) + 1);
    }
    from.requests.add(request);
    to.requests.add(request);
    signal?.addEventListener("abort", onAbort, { once: true });
    queue.at(queue.now() + init.latencyMs, () => {
      if (settled) return;
      const options = {
        signal: stopped.signal,
        afterSent: (callback: (free: boolean) => void) => void afterSent.push(callback),
      };
      to.handler.promise
        .then(async (handler) => await handler(from.peer, lane, frame, options))
        .then(answer, () => fail(unreachable()));
    });
    return result.promise;
  }

  function pathOf(to: Node, from: Node): LinkIndex[] {
    const racks = to.rack === from.rack ? [] : [to.rack?.up ?? [], from.rack?.down ?? []].flat();
    return [to.up, ...racks, from.down];
  }

  function tell(type: keyof MembershipEvents, about: PeerIdString): void {
    for (const node of nodes.values()) {
      node.others = undefined;
      if (node.alive) for (const listener of node.listeners.get(type) ?? []) listener(about);
    }
  }

  return {
    add(peer, linkBytesPerMs, rack) {
      const node: Node = {
        peer,
        rack,
        up: links.add(linkBytesPerMs),
        down: links.add(linkBytesPerMs),
        sent: { messages: 0, blockRequests: 0, busy: 0, byType: new Map() },
        handler: Promise.withResolvers(),
        listeners: new Map(),
        requests: new Set(),
        others: undefined,
        alive: true,
      };
      nodes.set(peer, node);
      racked ||= rack !== undefined;
      const transport: PeerTransport = {
        self: peer,
        site: "virtual",
        members() {
          node.others ??= node.alive ? [...nodes.keys()].filter((other) => other !== peer) : [];
          return node.others;
        },
        // Asked for every source of every piece: without racks there is nothing to look up.
        zoneOf: (other) => (racked ? nodes.get(other)?.rack?.zone : undefined),
        async request(other, lane, frame, options = {}) {
          options.signal?.throwIfAborted();
          const to = nodes.get(other);
          if (to === undefined || !node.alive) throw unreachable();
          return await send(node, to, lane, frame, options.signal);
        },
        handle: (handler) => node.handler.resolve(handler),
        on(type, listener) {
          const set = node.listeners.get(type) ?? new Set();
          node.listeners.set(type, set);
          set.add(listener);
          return {
            [Symbol.dispose]() {
              set.delete(listener);
            },
          };
        },
        sign: async () => new Uint8Array(SIGNATURE_BYTES),
        verify: async () => true,
      };
      return {
        transport,
        sent: node.sent,
        up: node.up,
        down: node.down,
        kill() {
          node.alive = false;
          nodes.delete(peer);
          for (const request of Array.from(node.requests)) request.fail(unreachable());
          queue.at(queue.now() + init.latencyMs, () => tell("memberDown", peer));
        },
      };
    },
  };
}

function unreachable(): CodedError<"ERR_PEER_UNREACHABLE"> {
  return new CodedError("ERR_PEER_UNREACHABLE", "the member is not there");
}
