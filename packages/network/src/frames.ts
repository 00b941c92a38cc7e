import type { Stream, StreamMessageEvent } from "@libp2p/interface";
import { type AbortOptions, type CodedError, raceSignal } from "@shoal/runtime";
import { protocolError, unreachable } from "./faults.ts";
import { frameChunks } from "./frame-inbox.ts";
import { createFrameIntake } from "./frame-intake.ts";

/** Large parts are sent in slices, so that the stream's own buffer stays bounded. */
const SLICE_BYTES = 256 * 1024;

/** A stream that carries one frame after another: four bytes of length, big endian, then the bytes. */
export interface FramedStream {
  readonly open: boolean;
  /** Aborts when the stream has ended, in either way. */
  readonly signal: AbortSignal;
  /** How the peer broke the framing, if it did. */
  readonly fault: CodedError<"ERR_PEER_PROTOCOL"> | undefined;
  /** The next frame; `undefined` when the stream has ended between frames. @throws ERR_PEER_UNREACHABLE, ERR_PEER_PROTOCOL */
  read(options?: AbortOptions): Promise<Uint8Array | undefined>;
  /** Sends the parts as one frame. @throws ERR_PEER_UNREACHABLE, ERR_PEER_PROTOCOL */
  write(parts: readonly Uint8Array[], options?: AbortOptions): Promise<void>;
  /** Whether the stream has no use for the parts once they are written: their memory may be freed. */
  readonly copies: boolean;
  abort(reason: Error): void;
}

export interface FrameLimits {
  readonly readBytes: number;
  readonly writeBytes: number;
}

/** @throws ERR_PEER_PROTOCOL when the parts together are over the limit */
export function ensureWritable(parts: readonly Uint8Array[], limits: FrameLimits): void {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > limits.writeBytes)
    throw protocolError(
      `is sent a frame of ${length} bytes, over the limit of ${limits.writeBytes}`,
    );
}

/**
 * Frames a libp2p stream. To be called in the tick that made the stream: what arrives before a listener is
 * there is lost.
 */
export function frameStream(stream: Stream, limits: FrameLimits): FramedStream {
  let ended = false;
  const intake = createFrameIntake(limits.readBytes, (error) => stream.abort(error));
  const { inbox } = intake;

  stream.addEventListener("message", ({ data }: StreamMessageEvent) => {
    if (data instanceof Uint8Array) inbox.take(data);
    else for (const part of data) inbox.take(part);
  });
  stream.addEventListener("remoteCloseWrite", () => {
    ended = true;
    inbox.end();
  });
  stream.addEventListener("close", () => {
    ended = true;
    intake.close("closed the stream");
  });

  function ensureOpen(): void {
    if (intake.failure !== undefined) throw intake.failure;
    if (stream.status !== "open") throw unreachable("closed the stream");
  }

  async function send(bytes: Uint8Array, options: AbortOptions): Promise<void> {
    ensureOpen();
    if (stream.send(bytes)) return;
    const drained = Promise.withResolvers<void>();
    const settle = (): void => drained.resolve();
    stream.addEventListener("drain", settle, { once: true });
    stream.addEventListener("close", settle, { once: true });
    try {
      if (stream.writableNeedsDrain && stream.status === "open")
        await raceSignal(drained.promise, options.signal);
    } finally {
      stream.removeEventListener("drain", settle);
      stream.removeEventListener("close", settle);
    }
    ensureOpen();
  }

  return {
    signal: intake.signal,
    copies: false,
    get fault() {
      return intake.fault;
    },
    get open() {
      return intake.failure === undefined && !ended && stream.status === "open";
    },
    read: async (options) => await inbox.read(options),
    async write(parts, options = {}) {
      ensureWritable(parts, limits);
      for (const chunk of frameChunks(parts))
        for (let at = 0; at < chunk.length; at += SLICE_BYTES)
          await send(chunk.subarray(at, at + SLICE_BYTES), options);
    },
    abort: intake.fail,
  };
}
