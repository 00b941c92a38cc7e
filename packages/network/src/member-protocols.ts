import type { Connection, Stream } from "@libp2p/interface";
import { type Logger, raceSignal } from "@shoal/runtime";
import type { FrameHandler, Lane, PeerIdString } from "@shoal/swarm";
import { unreachable } from "./faults.ts";
import { type FramedStream, type FrameLimits, frameStream } from "./frames.ts";
import { LANES, serveLane } from "./lanes.ts";
import { type Membership, peerOf } from "./membership.ts";
import type { NetworkMetrics } from "./metrics.ts";

/** To be called in the tick that made the stream. */
type StreamHandler = (stream: Stream, connection: Connection) => void;

/** Answers what members ask, and nobody else. */
export interface MemberProtocols {
  /** Who answers the requests of both lanes. Requests wait until it is known. */
  handle(answer: FrameHandler): void;
  /** A protocol for members alone: a stranger's stream is cut before anything of it is read. */
  forMembers(
    limits: FrameLimits,
    answer: (stream: FramedStream, peer: PeerIdString, connection: Connection) => Promise<void>,
  ): StreamHandler;
  lane(lane: Lane): StreamHandler;
  /** Answers a member's bulk requests that come over TLS; `alive` hears of each. */
  serveBulk(stream: FramedStream, peer: PeerIdString, alive: () => void): Promise<void>;
}

export interface MemberProtocolsComponents {
  readonly membership: Pick<Membership, "isAdmitted" | "connections">;
  /** Aborts when this machine leaves the site. */
  readonly running: () => AbortSignal;
  readonly metrics: Pick<NetworkMetrics, "bytes">;
  readonly logger: Logger;
}

export function createMemberProtocols(components: MemberProtocolsComponents): MemberProtocols {
  const { membership, running, metrics, logger } = components;
  const handled = Promise.withResolvers<void>();
  let handler: FrameHandler | undefined;

  /** Who breaks the framing loses its connections. */
  function punish(
    stream: FramedStream,
    peer: PeerIdString,
    connections: () => Iterable<Connection>,
  ): void {
    stream.signal.addEventListener("abort", () => {
      if (stream.fault === undefined) return;
      logger.warn({ error: stream.fault, peer }, "a member broke the protocol");
      for (const connection of connections()) connection.abort(stream.fault);
    });
  }

  const answerWith: FrameHandler = async (peer, lane, frame, options) => {
    if (handler === undefined) await raceSignal(handled.promise, options.signal);
    const parts = await handler!(peer, lane, frame, options);
    metrics.bytes.add(frame.length, { direction: "in", lane });
    const sent = parts.reduce((sum, part) => sum + part.length, 0);
    metrics.bytes.add(sent, { direction: "out", lane });
    return parts;
  };

  const forMembers: MemberProtocols["forMembers"] = (limits, answer) => (stream, connection) => {
    const peer = peerOf(connection);
    if (!membership.isAdmitted(connection)) {
      stream.abort(unreachable("was not admitted"));
      return;
    }
    const framed = frameStream(stream, limits);
    answer(framed, peer, connection)
      .then(async () => await stream.close())
      .catch((error: unknown) => {
        framed.abort(error instanceof Error ? error : unreachable("was cut"));
        logger.debug({ error, peer }, "a stream has ended");
      });
    punish(framed, peer, () => [connection]);
  };

  return {
    handle(answer) {
      handler = answer;
      handled.resolve();
    },
    forMembers,
    lane(lane) {
      const { requestBytes, answerBytes } = LANES[lane];
      const limits = { readBytes: requestBytes, writeBytes: answerBytes };
      return forMembers(limits, async (stream, peer) => {
        await serveLane(stream, lane, peer, answerWith, running());
      });
    },
    async serveBulk(stream, peer, alive) {
      punish(stream, peer, () => membership.connections(peer));
      const answer: FrameHandler = async (...request) => {
        alive();
        return await answerWith(...request);
      };
      await serveLane(stream, "bulk", peer, answer, running());
    },
  };
}
