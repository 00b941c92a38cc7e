import type { OnReadOpts, Socket } from "node:net";
import { raceSignal } from "@shoal/runtime";
import { unreachable } from "./faults.ts";
import { frameChunks } from "./frame-inbox.ts";
import { createFrameIntake } from "./frame-intake.ts";
import { ensureWritable, type FramedStream, type FrameLimits } from "./frames.ts";

/**
 * Frames a socket. `connect` may open it with the given way of reading: then bytes are received straight into
 * the memory of their frame.
 */
export function frameSocket<S extends Socket>(
  limits: FrameLimits,
  connect: (onread: OnReadOpts) => S,
): { readonly socket: S; readonly stream: FramedStream } {
  const intake = createFrameIntake(limits.readBytes, () => socket.destroy());
  const { inbox, signal } = intake;
  const socket = connect({
    buffer: () => inbox.target(),
    callback(countBytes) {
      inbox.advance(countBytes);
      return true;
    },
  });

  // Not called for a socket that receives in place.
  socket.on("data", (chunk: Buffer) => inbox.take(chunk));
  socket.on("end", () => {
    // Neither side has use for half a connection.
    intake.close("closed the connection");
    socket.destroy();
  });
  socket.on("error", (error) => intake.fail(unreachable("cut the connection", error)));
  socket.on("close", () => intake.close("closed the connection"));

  function ensureOpen(): void {
    if (intake.failure !== undefined) throw intake.failure;
    if (signal.aborted) throw unreachable("closed the connection");
  }

  const stream: FramedStream = {
    signal,
    copies: true,
    get fault() {
      return intake.fault;
    },
    get open() {
      return intake.failure === undefined && !signal.aborted && socket.writable;
    },
    read: async (options) => await inbox.read(options),
    async write(parts, options = {}) {
      ensureWritable(parts, limits);
      ensureOpen();
      const written = Promise.withResolvers<void>();
      const chunks = frameChunks(parts);
      for (const [index, chunk] of chunks.entries())
        socket.write(chunk, (error) => {
          if (error instanceof Error) written.reject(unreachable("cut the connection", error));
          else if (index === chunks.length - 1) written.resolve();
        });
      await raceSignal(written.promise, options.signal).catch((error: unknown) => {
        ensureOpen();
        throw error;
      });
    },
    abort: intake.fail,
  };
  return { socket, stream };
}
