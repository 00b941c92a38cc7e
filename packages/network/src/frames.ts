import type { Stream, StreamMessageEvent } from "@libp2p/interface";
import { type AbortOptions, CodedError, raceSignal } from "@shoal/runtime";

const HEADER_BYTES = 4;
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
  abort(reason: Error): void;
}

export interface FrameLimits {
  readonly readBytes: number;
  readonly writeBytes: number;
}

/**
 * Frames a stream. To be called in the tick that made the stream: what arrives before a listener is there
 * is lost. Both ends wait for each other's frames, so that at most one is ever buffered.
 */
export function frameStream(stream: Stream, limits: FrameLimits): FramedStream {
  const header = Buffer.alloc(HEADER_BYTES);
  let headerFilled = 0;
  let frame: Buffer | undefined;
  let filled = 0;
  let ended = false;
  let failure: Error | undefined;
  let fault: CodedError<"ERR_PEER_PROTOCOL"> | undefined;
  const over = new AbortController();
  const frames: Uint8Array[] = [];
  let waiter = Promise.withResolvers<void>();

  function wake(): void {
    const woken = waiter;
    waiter = Promise.withResolvers();
    woken.resolve();
  }

  function fail(error: Error): void {
    failure ??= error;
    stream.abort(error);
    over.abort(error);
    wake();
  }

  function blame(how: string): void {
    fault = protocolError(how);
    fail(fault);
  }

  function take(chunk: Uint8Array): void {
    let rest = chunk;
    while (rest.length > 0 && failure === undefined) {
      if (frame === undefined) {
        const count = Math.min(rest.length, HEADER_BYTES - headerFilled);
        header.set(rest.subarray(0, count), headerFilled);
        headerFilled += count;
        rest = rest.subarray(count);
        if (headerFilled < HEADER_BYTES) return;
        const length = header.readUInt32BE(0);
        if (length > limits.readBytes) {
          blame(`sent a frame of ${length} bytes, over the limit of ${limits.readBytes}`);
          return;
        }
        // Neither end sends a frame before the last one is answered.
        if (frames.length > 0) {
          blame("sent a frame out of turn");
          return;
        }
        frame = Buffer.allocUnsafeSlow(length);
        filled = 0;
      }
      const count = Math.min(rest.length, frame.length - filled);
      frame.set(rest.subarray(0, count), filled);
      filled += count;
      rest = rest.subarray(count);
      if (filled < frame.length) return;
      frames.push(new Uint8Array(frame.buffer, frame.byteOffset, frame.length));
      frame = undefined;
      headerFilled = 0;
      wake();
    }
  }

  stream.addEventListener("message", (event: StreamMessageEvent) => {
    const { data } = event;
    if (data instanceof Uint8Array) take(data);
    else for (const part of data) take(part);
  });
  stream.addEventListener("remoteCloseWrite", () => {
    ended = true;
    wake();
  });
  stream.addEventListener("close", () => {
    ended = true;
    over.abort(unreachable("closed the stream"));
    wake();
  });

  function ensureOpen(): void {
    if (failure !== undefined) throw failure;
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
    signal: over.signal,
    get fault() {
      return fault;
    },
    get open() {
      return failure === undefined && !ended && stream.status === "open";
    },
    async read(options = {}) {
      for (;;) {
        if (failure !== undefined) throw failure;
        const next = frames.shift();
        if (next !== undefined) return next;
        if (ended) {
          if (frame === undefined && headerFilled === 0) return undefined;
          throw unreachable("ended the stream within a frame");
        }
        await raceSignal(waiter.promise, options.signal);
      }
    },
    async write(parts, options = {}) {
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      if (length > limits.writeBytes)
        throw protocolError(
          `is sent a frame of ${length} bytes, over the limit of ${limits.writeBytes}`,
        );
      const head = Buffer.alloc(HEADER_BYTES);
      head.writeUInt32BE(length);
      const small = parts.filter((part) => part.length <= 1024);
      const leading = parts.findIndex((part) => part.length > 1024);
      const first = leading === -1 ? small : parts.slice(0, leading);
      await send(Buffer.concat([head, ...first]), options);
      for (const part of leading === -1 ? [] : parts.slice(leading))
        for (let at = 0; at < part.length; at += SLICE_BYTES)
          await send(part.subarray(at, at + SLICE_BYTES), options);
    },
    abort: fail,
  };
}

export function unreachable(fault: string, cause?: unknown): CodedError<"ERR_PEER_UNREACHABLE"> {
  return new CodedError("ERR_PEER_UNREACHABLE", `the member ${fault}`, { cause });
}

function protocolError(fault: string): CodedError<"ERR_PEER_PROTOCOL"> {
  return new CodedError(
    "ERR_PEER_PROTOCOL",
    `the member ${fault}; check that all daemons of the site run neighbouring versions`,
  );
}
