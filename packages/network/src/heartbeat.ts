import type { Connection } from "@libp2p/interface";
import { type Clock, deadline, type Logger } from "@shoal/runtime";
import { unreachable } from "./faults.ts";
import { type FramedStream, frameStream } from "./frames.ts";

export const BEAT_PROTOCOL = "/shoal/beat/1";
export const BEAT_LIMITS = { readBytes: 4096, writeBytes: 4096 };
const BEAT_MS = 5000;
/** Who was heard of less long ago is not asked: of two members one asks, and both know. */
const FRESH_MS = 4500;
const MISSED_BEATS = 3;
/** Version 1 of the beat says nothing but that its sender is there. */
const BEAT = new Uint8Array([1]);

export interface HeartbeatInit {
  readonly connections: () => readonly Connection[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Asks every member each 5 s whether it is there, unless it has asked itself; a connection that misses three beats is cut. */
export interface Heartbeat {
  /** Answers a peer's beats. */
  answer(stream: FramedStream, connection: Connection): Promise<void>;
}

interface Heart {
  stream?: FramedStream;
  missed: number;
  heardMs: number;
}

export function startHeartbeat({ connections, clock, logger, signal }: HeartbeatInit): Heartbeat {
  const hearts = new Map<Connection, Heart>();

  function heartOf(connection: Connection): Heart {
    const known = hearts.get(connection);
    if (known !== undefined) return known;
    const heart = { missed: 0, heardMs: Number.NEGATIVE_INFINITY };
    hearts.set(connection, heart);
    return heart;
  }

  function heard(heart: Heart): void {
    heart.missed = 0;
    heart.heardMs = clock.now();
  }

  async function beat(connection: Connection): Promise<void> {
    const heart = heartOf(connection);
    if (clock.now() - heart.heardMs < FRESH_MS) return;
    const limit = deadline(BEAT_MS - 500, signal);
    try {
      if (heart.stream?.open !== true) {
        const opened = await connection.newStream(BEAT_PROTOCOL, { signal: limit });
        heart.stream = frameStream(opened, BEAT_LIMITS);
      }
      await heart.stream.write([BEAT], { signal: limit });
      await heart.stream.read({ signal: limit });
      heard(heart);
    } catch (error) {
      if (signal.aborted || connection.status !== "open") return;
      heart.missed += 1;
      heart.stream?.abort(unreachable("missed a beat"));
      logger.debug({ error, missed: heart.missed }, "a member missed a beat");
      if (heart.missed >= MISSED_BEATS) connection.abort(unreachable("missed three beats"));
    }
  }

  function round(): void {
    if (signal.aborted) return;
    const open = new Set(connections());
    for (const connection of hearts.keys()) if (!open.has(connection)) hearts.delete(connection);
    for (const connection of open) void beat(connection);
    clock.schedule(BEAT_MS, round);
  }

  clock.schedule(BEAT_MS, round);
  return {
    async answer(stream, connection) {
      for (;;) {
        const frame = await stream.read({ signal });
        if (frame === undefined) return;
        heard(heartOf(connection));
        await stream.write([BEAT], { signal });
      }
    },
  };
}
