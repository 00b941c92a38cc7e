import type { Connection } from "@libp2p/interface";
import { type AbortOptions, raceSignal } from "@shoal/runtime";
import type { FrameHandler, Lane, PeerIdString } from "@shoal/swarm";
import type { BulkClient } from "./bulk-client.ts";
import { unreachable } from "./faults.ts";
import { type FramedStream, type FrameLimits, frameStream } from "./frames.ts";

const KIB = 1024;
const OPEN_TIMEOUT_MS = 5000;
/** Streams of the bulk lane beside a faster way that is there or about to be. */
const BESIDE_BULK = 2;
/** Requests that may wait for a stream of a lane to one peer. */
const MAX_WAITING = 256;

interface LaneSettings {
  readonly protocol: string;
  /** Streams to one peer, each with one request under way. */
  readonly streams: number;
  /** Largest request and largest answer. */
  readonly requestBytes: number;
  readonly answerBytes: number;
}

export const LANES: Readonly<Record<Lane, LaneSettings>> = {
  control: {
    protocol: "/shoal/control/1",
    streams: 4,
    requestBytes: 256 * KIB,
    answerBytes: 256 * KIB,
  },
  bulk: {
    protocol: "/shoal/bulk/1",
    streams: 8,
    requestBytes: 64 * KIB,
    answerBytes: 1024 * KIB + 64 * KIB,
  },
};

/** Requests to one peer over one connection: a few persistent streams a lane, one request at a time on each. */
export interface PeerLanes {
  readonly connection: Connection;
  /** The member's port of a faster way for the bulk lane, once it has told it. */
  readonly bulkPort: number | undefined;
  request(lane: Lane, frame: Uint8Array, options?: AbortOptions): Promise<Uint8Array>;
  /** Bulk requests are to be expected. */
  prepare(): void;
  close(): void;
}

interface Pool {
  readonly idle: FramedStream[];
  readonly waiting: PromiseWithResolvers<void>[];
  opened: number;
  /** Streams of the connection among them. */
  streams: number;
}

/** @param bulkOver makes a faster way for the bulk lane; streams of the connection are used while there is none */
export function createPeerLanes(
  connection: Connection,
  bulkOver: (onChange: () => void) => BulkClient,
): PeerLanes {
  const pools: Record<Lane, Pool> = {
    control: { idle: [], waiting: [], opened: 0, streams: 0 },
    bulk: { idle: [], waiting: [], opened: 0, streams: 0 },
  };
  const bulk = bulkOver(() => wake("bulk"));
  const slow = new WeakSet<FramedStream>();
  let closed = false;

  /** One more for the pool, ready or on its way; `undefined` when it is better to wait for one that there is. */
  function openAnother(lane: Lane): FramedStream | Promise<FramedStream> | undefined {
    const pool = pools[lane];
    if (pool.opened >= LANES[lane].streams) return undefined;
    const ready = lane === "bulk" ? bulk.take() : undefined;
    // A few streams keep requests going meanwhile; more would cost more than the wait.
    const worthWaiting = lane === "bulk" && bulk.promising && pool.streams >= BESIDE_BULK;
    if (ready === undefined && worthWaiting) return undefined;
    pool.opened += 1;
    return ready ?? openStream(lane);
  }

  async function openStream(lane: Lane): Promise<FramedStream> {
    pools[lane].streams += 1;
    const { protocol, requestBytes, answerBytes } = LANES[lane];
    const limits: FrameLimits = { readBytes: answerBytes, writeBytes: requestBytes };
    try {
      const stream = await connection.newStream(protocol, {
        signal: AbortSignal.timeout(OPEN_TIMEOUT_MS),
        maxOutboundStreams: 64,
      });
      const framed = frameStream(stream, limits);
      slow.add(framed);
      return framed;
    } catch (cause) {
      pools[lane].streams -= 1;
      pools[lane].opened -= 1;
      wake(lane);
      throw unreachable("opens no stream", cause);
    }
  }

  /** Whoever asked for it and has given up meanwhile leaves it to others. */
  async function whenOpen(
    lane: Lane,
    opening: Promise<FramedStream>,
    { signal }: AbortOptions,
  ): Promise<FramedStream> {
    try {
      return await raceSignal(opening, signal);
    } catch (error) {
      void opening.then(
        (stream) => release(lane, stream),
        () => undefined,
      );
      throw error;
    }
  }

  async function acquire(lane: Lane, options: AbortOptions): Promise<FramedStream> {
    const pool = pools[lane];
    for (;;) {
      if (closed) throw unreachable("left");
      const idle = pool.idle.pop();
      if (idle?.open === true && (lane !== "bulk" || bulk.prefers(idle))) return idle;
      if (idle !== undefined) {
        idle.abort(unreachable("is asked otherwise"));
        leave(lane, idle);
        continue;
      }
      const another = openAnother(lane);
      if (another !== undefined)
        return another instanceof Promise ? await whenOpen(lane, another, options) : another;
      if (pool.waiting.length >= MAX_WAITING) throw unreachable("has too many requests waiting");
      const turn = Promise.withResolvers<void>();
      pool.waiting.push(turn);
      try {
        await raceSignal(turn.promise, options.signal);
      } catch (error) {
        const place = pool.waiting.indexOf(turn);
        if (place === -1) wake(lane);
        else pool.waiting.splice(place, 1);
        throw error;
      }
    }
  }

  function release(lane: Lane, stream: FramedStream): void {
    if (closed) stream.abort(unreachable("left"));
    if (!stream.open) {
      forget(lane, stream);
      return;
    }
    pools[lane].idle.push(stream);
    wake(lane);
  }

  function wake(lane: Lane): void {
    pools[lane].waiting.shift()?.resolve();
  }

  function leave(lane: Lane, stream: FramedStream): void {
    pools[lane].opened -= 1;
    if (slow.has(stream)) pools[lane].streams -= 1;
  }

  function forget(lane: Lane, stream: FramedStream): void {
    leave(lane, stream);
    wake(lane);
  }

  return {
    connection,
    get bulkPort() {
      return bulk.port;
    },
    prepare: () => bulk.prepare(),
    async request(lane, frame, options = {}) {
      options.signal?.throwIfAborted();
      const stream = await acquire(lane, options);
      try {
        await stream.write([frame], options);
        const answer = await stream.read(options);
        if (answer === undefined) throw unreachable("ended the stream without an answer");
        release(lane, stream);
        return answer;
      } catch (error) {
        // An answer may still come: the stream can't be used for another request.
        stream.abort(error instanceof Error ? error : unreachable("was given up"));
        forget(lane, stream);
        if (stream.fault !== undefined) connection.abort(stream.fault);
        throw error;
      }
    },
    close() {
      closed = true;
      bulk.close();
      for (const { idle, waiting } of Object.values(pools)) {
        for (const stream of idle) stream.abort(unreachable("left"));
        for (const turn of waiting.splice(0)) turn.reject(unreachable("left"));
      }
    },
  };
}

/**
 * Answers one inbound stream of a lane until it ends. A handler's signal aborts when the stream has ended,
 * because its peer has given up the request.
 */
export async function serveLane(
  stream: FramedStream,
  lane: Lane,
  peer: PeerIdString,
  handler: FrameHandler,
  signal: AbortSignal,
): Promise<void> {
  // One listener a stream: among the many of a signal that all share, each frame's own would be looked for.
  const leave = (): void => stream.abort(unreachable("is left"));
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave, { once: true });
  try {
    await serveFrames(stream, lane, peer, handler);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

async function serveFrames(
  stream: FramedStream,
  lane: Lane,
  peer: PeerIdString,
  handler: FrameHandler,
): Promise<void> {
  for (;;) {
    const frame = await stream.read();
    if (frame === undefined) return;
    const sent: ((free: boolean) => void)[] = [];
    const afterSent = (callback: (free: boolean) => void): void => void sent.push(callback);
    let free = false;
    try {
      const parts = await handler(peer, lane, frame, { signal: stream.signal, afterSent });
      await stream.write(parts);
      free = stream.copies;
    } finally {
      for (const callback of sent) callback(free);
    }
  }
}
