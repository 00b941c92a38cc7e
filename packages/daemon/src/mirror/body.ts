import type { ServerResponse } from "node:http";
import { type Clock, freeMemory, raceSignal } from "@shoal/runtime";
import { cutShort } from "./answers.ts";

/** Engines give up on a silent server after 30 s; headers go out this long after the request. Milliseconds. */
const HEADERS_WITHIN_MS = 10_000;

export interface BodyInit {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  /** Nobody else uses them any more. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Whether the next chunk may be read while the last one goes out. */
  readonly mayReadAhead: () => boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onBytes: (lengthBytes: number) => void;
}

/**
 * Streams a body. Headers wait for the first bytes, so that a failure before them is an answer with a status
 * of its own, but no longer than 10 s. @throws what `chunks` throws, when no header has been sent
 */
export async function sendBody(response: ServerResponse, init: BodyInit): Promise<void> {
  const iterator = init.chunks[Symbol.asyncIterator]();
  let started = false;
  const start = (): void => {
    if (started) return;
    started = true;
    response.writeHead(init.status, init.headers);
    response.flushHeaders();
  };
  try {
    using _timer = init.clock.schedule(HEADERS_WITHIN_MS, start);
    let next = await iterator.next();
    start();
    while (next.done !== true) {
      const chunk = next.value;
      init.onBytes(chunk.length);
      const sent = write(response, chunk);
      const following = init.mayReadAhead() ? iterator.next() : undefined;
      following?.catch(() => undefined);
      await raceSignal(sent, init.signal);
      // What shares its memory with others is not ours to free.
      if (chunk.length === chunk.buffer.byteLength) freeMemory(chunk);
      next = await (following ?? iterator.next());
    }
    response.end();
  } catch (error) {
    await iterator.return?.();
    if (!started) throw error;
    cutShort(response);
    throw new BodyCut(error);
  }
}

/** Resolves when the kernel has the bytes, and their memory is not needed any more. */
async function write(response: ServerResponse, chunk: Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  response.write(chunk, (error) => (error ? reject(error) : resolve()));
  await promise;
}

/** A body ended short; its client has seen all that it will see. */
export class BodyCut extends Error {
  override readonly name = "BodyCut";
  constructor(cause: unknown) {
    super("a body ended short", { cause });
  }
}
