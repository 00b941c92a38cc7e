import { type AbortOptions, type Clock, CodedError, sleep } from "@shoal/runtime";
import { isTransient } from "./failures.ts";
import type { WireBody } from "./receiver.ts";
import { backOffDelayMs } from "./retry.ts";

/** A response that carries a blob's bytes from `start` on. */
export interface OpenRange {
  readonly start: number;
  /** Size of the whole blob, where the response tells it. */
  readonly sizeBytes?: number;
  /** Byte after the last of the response, where it tells that. */
  readonly end?: number;
  readonly body: WireBody;
}

export interface BlobBodyInit {
  readonly registry: string;
  readonly first: OpenRange;
  /** Byte after the last one wanted, where the caller named one. */
  readonly end: number | undefined;
  /** Size of the whole blob as the caller or the first response has it. */
  readonly sizeBytes: number | undefined;
  /** Attempts to resume without a new byte in between. */
  readonly maxAttempts: number;
  readonly baseMs: number;
  /** Asks for the rest; may answer from an earlier byte on. */
  readonly reopen: (start: number, options: AbortOptions) => Promise<OpenRange>;
  /** More bytes have come than the blob has. */
  readonly onTooLong: () => void;
}

/**
 * A blob's bytes across as many responses as it takes. To be iterated once; leaving closes the
 * connection, at once even while a chunk is waited for.
 */
export function createBlobBody(
  components: { readonly clock: Clock; readonly random: () => number },
  init: BlobBodyInit,
  options: AbortOptions,
): AsyncIterable<Uint8Array> {
  const { registry, end, sizeBytes } = init;
  const left = new AbortController();
  const signal =
    options.signal === undefined ? left.signal : AbortSignal.any([options.signal, left.signal]);
  const wanted = Math.min(end ?? Infinity, sizeBytes ?? Infinity);
  /** Where the body is known to end; of an unknown size, wherever a response ends in good order. */
  const known =
    wanted !== Infinity && (sizeBytes !== undefined || init.first.end === undefined)
      ? wanted
      : Math.min(wanted, init.first.end ?? Infinity);
  const limit = known === Infinity ? undefined : known;
  let current = init.first;
  let position = current.start;
  let failures = 0;
  /** Answers in a row that came in good order, from here on, and brought nothing. */
  let emptyAnswers = 0;

  const fail = (
    code: `ERR_${string}`,
    message: string,
    details: object,
    cause?: unknown,
  ): CodedError =>
    new CodedError(code, message, {
      cause,
      details: { registry, position, sizeBytes, ...details },
    });
  const truncated = (cause?: unknown, endsHere = false): CodedError =>
    fail(
      "ERR_UPSTREAM_TRUNCATED",
      `${registry} broke a blob off at byte ${position}${limit === undefined ? "" : ` of ${limit}`}; try again, and look at the registry's log if it stays so`,
      { endsHere },
      cause,
    );

  async function* run(): AsyncGenerator<Uint8Array, undefined> {
    for (;;) {
      let broken: unknown;
      try {
        let skip = position - current.start;
        for await (const chunk of current.body) {
          if (skip >= chunk.byteLength) {
            skip -= chunk.byteLength;
            continue;
          }
          const fresh = skip === 0 ? chunk : chunk.subarray(skip);
          skip = 0;
          const room = limit === undefined ? Infinity : limit - position;
          const part = fresh.byteLength <= room ? fresh : fresh.subarray(0, room);
          position += part.byteLength;
          failures = 0;
          emptyAnswers = 0;
          if (part.byteLength > 0) yield part;
          const enough = position === limit && end !== undefined;
          if (enough) {
            current.body.discard();
            return;
          }
          if (part === fresh) continue;
          init.onTooLong();
          throw fail(
            "ERR_UPSTREAM_TOO_LONG",
            `${registry} sent more than the ${limit} bytes of a blob; its content is not what its manifest says`,
            {},
          );
        }
        // Without any length, an end in good order is the blob's end.
        const unmeasured = sizeBytes === undefined && current.end === undefined;
        if (limit === undefined || position >= limit || unmeasured) return;
      } catch (error) {
        if (!isResumable(error)) throw error;
        if (limit !== undefined && position >= limit) return;
        broken = error;
      } finally {
        current.body.close();
      }
      emptyAnswers += failures > 0 ? 1 : 0;
      current = await resume(truncated(broken, emptyAnswers >= init.maxAttempts));
    }
  }

  async function resume(because: CodedError): Promise<OpenRange> {
    let last = because;
    for (;;) {
      failures += 1;
      if (failures > init.maxAttempts) throw last;
      const delayMs = backOffDelayMs(init.baseMs, failures, components.random);
      await sleep(components.clock, delayMs, { signal });
      try {
        return await init.reopen(position, { signal });
      } catch (error) {
        // The registry's copy ends here: it is shorter than its manifest says.
        if (error instanceof CodedError && error.details["status"] === 416)
          throw truncated(error, true);
        if (!isResumable(error)) throw error;
        last = error;
      }
    }
  }

  let taken = false;
  return {
    [Symbol.asyncIterator]() {
      if (taken) throw new TypeError("a blob's body can be iterated once");
      taken = true;
      const generator = run();
      return {
        next: () => generator.next(),
        async return() {
          left.abort(new DOMException("the blob's reader has left", "AbortError"));
          current.body.close();
          await generator.return(undefined);
          return { done: true, value: undefined };
        },
      };
    },
  };
}

function isResumable(error: unknown): error is CodedError {
  return (
    isTransient(error) || (error instanceof CodedError && error.code === "ERR_UPSTREAM_TIMEOUT")
  );
}
