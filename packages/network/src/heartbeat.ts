import type { Connection } from "@libp2p/interface";
import { type Clock, deadline, type Logger } from "@shoal/runtime";
import { unreachable } from "./faults.ts";
import { type FramedStream, frameStream } from "./frames.ts";

export const BEAT_PROTOCOL = "/shoal/beat/1";
export const BEAT_BYTES = 4096;
const BEAT_MS = 5000;
const MISSED_BEATS = 3;
/** Version 1 of the beat says nothing but that its sender is there. */
const BEAT = new Uint8Array([1]);

export interface HeartbeatInit {
  readonly connections: () => readonly Connection[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Asks every member each 5 s whether it is there; a connection that misses three beats is cut. */
export function keepBeating({ connections, clock, logger, signal }: HeartbeatInit): void {
  const hearts = new Map<Connection, { stream?: FramedStream; missed: number }>();

  async function beat(connection: Connection): Promise<void> {
    const heart = hearts.get(connection) ?? { missed: 0 };
    hearts.set(connection, heart);
    const limit = deadline(BEAT_MS - 500, signal);
    try {
      if (heart.stream?.open !== true) {
        const limits = { readBytes: BEAT_BYTES, writeBytes: BEAT_BYTES };
        heart.stream = frameStream(
          await connection.newStream(BEAT_PROTOCOL, { signal: limit }),
          limits,
        );
      }
      await heart.stream.write([BEAT], { signal: limit });
      await heart.stream.read({ signal: limit });
      heart.missed = 0;
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
    const open = connections();
    for (const connection of hearts.keys())
      if (!open.includes(connection)) hearts.delete(connection);
    for (const connection of open) void beat(connection);
    clock.schedule(BEAT_MS, round);
  }

  clock.schedule(BEAT_MS, round);
}

/** Answers a peer's beats. */
export async function answerBeat(stream: FramedStream, signal: AbortSignal): Promise<void> {
  for (;;) {
    const frame = await stream.read({ signal });
    if (frame === undefined) return;
    await stream.write([BEAT], { signal });
  }
}
