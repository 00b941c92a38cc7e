import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";

/** A response whose headers are here and whose body arrives. */
export interface WireResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: WireBody;
}

/** A response's bytes in the chunks of the socket, never copied. To be read once, or closed. */
export interface WireBody extends AsyncIterable<Uint8Array> {
  /** Gives up what has not been read and closes the connection, unless the body has ended or is discarded. */
  close(): void;
  /** Lets a short rest run out, so that the connection can be used again; a long one is closed. */
  discard(): void;
}

/** Above this many unread bytes the socket is not read on. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2;
/** A rest up to this is cheaper to read than a new connection is to make. */
const DISCARD_BYTES = 64 * 1024;

export interface Receiver {
  readonly handler: Dispatcher.DispatchHandler;
  readonly response: Promise<WireResponse>;
}

/**
 * Takes one response from undici. Node's `Readable` would join queued chunks into new buffers, so the
 * chunks are queued here, bounded, instead.
 * @param translate makes the error that callers see
 * @param received counts body bytes as they come
 */
export function createReceiver(
  signal: AbortSignal | undefined,
  translate: (error: unknown) => unknown,
  received: (bytes: number) => void,
): Receiver {
  const headersIn = Promise.withResolvers<WireResponse>();
  headersIn.promise.catch(() => undefined);
  const queue: Uint8Array[] = [];
  let queuedBytes = 0;
  let discardedBytes: number | undefined;
  let ended = false;
  let failure: { readonly error: unknown } | undefined;
  let controller: Dispatcher.DispatchController | undefined;
  let waiting: PromiseWithResolvers<IteratorResult<Uint8Array, undefined>> | undefined;

  function settle(): void {
    signal?.removeEventListener("abort", onAbort);
  }
  function fail(error: unknown): void {
    if (ended || failure !== undefined) return;
    failure = { error };
    settle();
    headersIn.reject(error);
    waiting?.reject(error);
    waiting = undefined;
  }
  function stop(reason: unknown): void {
    if (ended) return;
    fail(reason);
    queue.length = 0;
    queuedBytes = 0;
    controller?.abort(reason instanceof Error ? reason : new Error("stopped"));
  }
  function leave(): void {
    stop(new DOMException("the body was left before its end", "AbortError"));
  }
  function onAbort(): void {
    stop(signal!.reason);
  }
  function take(): IteratorResult<Uint8Array, undefined> | undefined {
    const chunk = queue.shift();
    if (chunk === undefined) return ended ? { done: true, value: undefined } : undefined;
    queuedBytes -= chunk.byteLength;
    if (controller?.paused === true && queuedBytes < LOW_WATER_BYTES) controller.resume();
    return { done: false, value: chunk };
  }

  const body: WireBody = {
    [Symbol.asyncIterator]: () => ({
      async next() {
        // What came before a break is good, and need not be fetched again.
        const ready = take();
        if (ready !== undefined) return ready;
        if (failure !== undefined) throw failure.error;
        waiting = Promise.withResolvers();
        return await waiting.promise;
      },
      async return() {
        body.close();
        return { done: true, value: undefined };
      },
    }),
    close() {
      if (discardedBytes === undefined) leave();
    },
    discard() {
      if (discardedBytes !== undefined) return;
      discardedBytes = queuedBytes;
      queue.length = 0;
      queuedBytes = 0;
      if (discardedBytes > DISCARD_BYTES) leave();
      else if (controller?.paused === true) controller.resume();
    },
  };

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      controller = started;
      if (failure !== undefined) started.abort(new Error("stopped before it was sent"));
    },
    onResponseStart(_controller, status, headers) {
      if (status >= 200) headersIn.resolve({ status, headers, body });
    },
    onResponseData(_controller, chunk) {
      received(chunk.byteLength);
      if (discardedBytes !== undefined) {
        discardedBytes += chunk.byteLength;
        if (discardedBytes > DISCARD_BYTES) leave();
        return;
      }
      if (waiting !== undefined) {
        waiting.resolve({ done: false, value: chunk });
        waiting = undefined;
        return;
      }
      queue.push(chunk);
      queuedBytes += chunk.byteLength;
      if (queuedBytes > HIGH_WATER_BYTES) controller?.pause();
    },
    onResponseEnd() {
      if (failure !== undefined) return;
      ended = true;
      settle();
      waiting?.resolve({ done: true, value: undefined });
      waiting = undefined;
    },
    onResponseError(_controller, error) {
      fail(translate(error));
    },
  };

  if (signal?.aborted === true) fail(signal.reason);
  else signal?.addEventListener("abort", onAbort, { once: true });
  return { handler, response: headersIn.promise };
}

/**
 * Reads a whole body of at most `maxBytes`.
 * @throws what `tooLong` makes, after closing the connection
 */
export async function readAll(
  body: WireBody,
  maxBytes: number,
  tooLong: () => Error,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > maxBytes) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, sizeBytes);
}

/** A header's value; of one that was sent more than once, all of them joined. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** `Content-Length`, where it is one. */
export function contentLength(headers: IncomingHttpHeaders): number | undefined {
  const text = headerOf(headers, "content-length");
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined;
  return Number(text);
}

/** `Content-Type` without parameters, or undefined. */
export function mediaTypeOf(headers: IncomingHttpHeaders): string | undefined {
  const type = headerOf(headers, "content-type")?.split(";", 1)[0]?.trim();
  return type === "" ? undefined : type;
}
