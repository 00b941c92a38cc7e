import type { OnReadOpts, Socket } from "node:net";
import { type CodedError, raceSignal } from "@shoal/runtime";
import { protocolError, unreachable } from "./faults.ts";
import { createFrameInbox, frameChunks } from "./frame-inbox.ts";
import { ensureWritable, type FramedStream, type FrameLimits } from "./frames.ts";

/**
 * Frames a socket. `connect` may open it with the given way of reading: then bytes are received straight into
 * the memory of their frame.
 */
export function frameSocket<S extends Socket>(
  limits: FrameLimits,
  connect: (onread: OnReadOpts) => S,
): { readonly socket: S; readonly stream: FramedStream } {
  let failure: Error | undefined;
  let fault: CodedError<"ERR_PEER_PROTOCOL"> | undefined;
  const over = new AbortController();
  const inbox = createFrameInbox({
    maxBytes: limits.readBytes,
    onFault(how) {
      fault = protocolError(how);
      fail(fault);
    },
  });
  const socket = connect({
    buffer: () => inbox.target(),
    callback(countBytes) {
      inbox.advance(countBytes);
      return true;
    },
  });

  function fail(error: Error): void {
    failure ??= error;
    socket.destroy();
    over.abort(error);
    inbox.fail(error);
  }

  // Not called for a socket that receives in place.
  socket.on("data", (chunk: Buffer) => inbox.take(chunk));
  socket.on("end", () => {
    // Neither side has use for half a connection.
    over.abort(unreachable("closed the connection"));
    inbox.end();
    socket.destroy();
  });
  socket.on("error", (error) => fail(unreachable("cut the connection", error)));
  socket.on("close", () => {
    over.abort(unreachable("closed the connection"));
    inbox.end();
  });

  function ensureOpen(): void {
    if (failure !== undefined) throw failure;
    if (over.signal.aborted) throw unreachable("closed the connection");
  }

  const stream: FramedStream = {
    signal: over.signal,
    copies: true,
    get fault() {
      return fault;
    },
    get open() {
      return failure === undefined && !over.signal.aborted && socket.writable;
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
    abort: fail,
  };
  return { socket, stream };
}
