import { type AbortOptions, raceSignal } from "@shoal/runtime";
import { unreachable } from "./faults.ts";

const HEADER_BYTES = 4;

export interface FrameInboxInit {
  /** Largest frame, in bytes. */
  readonly maxBytes: number;
  /** Called with how the peer has broken the framing; nothing is taken in after it. */
  readonly onFault: (fault: string) => void;
}

/**
 * Puts frames together from what arrives: four bytes of length, big endian, then the bytes. The memory of a
 * frame is allocated once, when its length is known, and filled in place. Neither end sends a frame before the
 * last one is answered, so at most one is ever here.
 */
export interface FrameInbox {
  /** Whether a frame has begun and is not whole. */
  readonly within: boolean;
  /** Copies what has arrived. */
  take(chunk: Uint8Array): void;
  /** Where the next bytes go, for who can receive in place; never empty. */
  target(): Uint8Array<ArrayBuffer>;
  /** So many bytes have been put into {@link target}. */
  advance(countBytes: number): void;
  /** Nothing comes after what has come. */
  end(): void;
  /** From now on `read` throws the error. */
  fail(error: Error): void;
  /** The next frame, the reader's own; `undefined` at the end. @throws ERR_PEER_UNREACHABLE within a frame, what it failed with, and the signal's reason */
  read(options?: AbortOptions): Promise<Uint8Array | undefined>;
}

export function createFrameInbox(init: FrameInboxInit): FrameInbox {
  const header = new Uint8Array(HEADER_BYTES);
  let headerFilled = 0;
  let frame: Uint8Array<ArrayBuffer> | undefined;
  let filled = 0;
  let whole: Uint8Array | undefined;
  let ended = false;
  let failure: Error | undefined;
  let waiter = Promise.withResolvers<void>();

  function wake(): void {
    const woken = waiter;
    waiter = Promise.withResolvers();
    woken.resolve();
  }

  function begin(): void {
    const length = new DataView(header.buffer).getUint32(0);
    headerFilled = 0;
    if (length > init.maxBytes)
      init.onFault(`sent a frame of ${length} bytes, over the limit of ${init.maxBytes}`);
    else if (whole !== undefined) init.onFault("sent a frame out of turn");
    else {
      const buffer = Buffer.allocUnsafeSlow(length);
      frame = new Uint8Array(buffer.buffer, buffer.byteOffset, length);
      filled = 0;
      if (length === 0) complete(frame);
    }
  }

  function complete(bytes: Uint8Array): void {
    frame = undefined;
    whole = bytes;
    wake();
  }

  function target(): Uint8Array<ArrayBuffer> {
    return frame === undefined ? header.subarray(headerFilled) : frame.subarray(filled);
  }

  function advance(count: number): void {
    if (failure !== undefined) return;
    if (frame === undefined) {
      headerFilled += count;
      if (headerFilled === HEADER_BYTES) begin();
    } else {
      filled += count;
      if (filled === frame.length) complete(frame);
    }
  }

  return {
    get within() {
      return frame !== undefined || headerFilled > 0;
    },
    take(chunk) {
      let rest = chunk;
      while (rest.length > 0 && failure === undefined) {
        const into = target();
        const count = Math.min(rest.length, into.length);
        into.set(rest.subarray(0, count));
        rest = rest.subarray(count);
        advance(count);
      }
    },
    target,
    advance,
    end() {
      ended = true;
      wake();
    },
    fail(error) {
      failure ??= error;
      wake();
    },
    async read(options = {}) {
      for (;;) {
        if (failure !== undefined) throw failure;
        if (whole !== undefined) {
          const next = whole;
          whole = undefined;
          return next;
        }
        if (ended) {
          if (frame === undefined && headerFilled === 0) return undefined;
          throw unreachable("ended the stream within a frame");
        }
        await raceSignal(waiter.promise, options.signal);
      }
    },
  };
}

/** Parts of this size and more are sent as they are, smaller ones together with the header. */
const LARGE_BYTES = 1024;

/** A frame's bytes in the chunks to send, without a copy of what is large. */
export function frameChunks(parts: readonly Uint8Array[]): Uint8Array[] {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(length);
  const large = parts.findIndex((part) => part.length >= LARGE_BYTES);
  const leading = large === -1 ? parts : parts.slice(0, large);
  return [Buffer.concat([header, ...leading]), ...(large === -1 ? [] : parts.slice(large))];
}
