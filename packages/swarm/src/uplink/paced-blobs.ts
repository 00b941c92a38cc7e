import type { Digest, Repository } from "@shoal/oci";
import { type AbortOptions, type Clock, raceSignal, sleep } from "@shoal/runtime";
import type { BlobOptions, Upstream, UpstreamBlob } from "@shoal/upstream";
import type { Allowance } from "./allowance.ts";
import type { TokenBucket } from "./token-bucket.ts";

/** How long a rate that may have changed is trusted. Milliseconds. */
const LONGEST_WAIT_MS = 100;
/** Who has not waited since it told its want last uses less than it has: it needs only so much more. */
const SPARE = 1.5;
/** A want told longer ago says nothing of now. Milliseconds. */
const STEADY_MS = 5000;

export interface PacerComponents {
  readonly clock: Clock;
  readonly bucket: TokenBucket;
  /** Bytes per second that this member may read from registries. */
  readonly allowance: Allowance;
  /** Whether a limit holds now. */
  readonly limited: () => boolean;
}

/** Lets bytes through at the rate that this member has, in the order in which they were asked for. */
export interface Pacer {
  readonly limited: boolean;
  /** Bytes per second that could be used now, up to `limit`. */
  want(limit: number): number;
  /** A body is going to be read, until the result is disposed. */
  enter(): Disposable;
  /** Waits until a request is worth sending. @returns for how many of `mostBytes`; all without a limit */
  take(mostBytes: number, options: AbortOptions): Promise<number>;
  /** Accounts for bytes that came unasked, and waits until they have been earned. */
  spend(bytes: number, options: AbortOptions): Promise<void>;
}

export function createPacer(components: PacerComponents): Pacer {
  const { clock, bucket, allowance, limited } = components;
  let readers = 0;
  let usedBytes = 0;
  let countedMs = Number.NEGATIVE_INFINITY;
  /** Whether somebody had to wait since the want was told last. */
  let waited = false;
  let last: Promise<void> = Promise.resolve();

  /** One after another, so that a large request is not starved by small ones. */
  async function inTurn(wait: () => number, options: AbortOptions): Promise<void> {
    const before = last;
    const turn = Promise.withResolvers<void>();
    last = turn.promise;
    try {
      await raceSignal(before, options.signal);
      while (limited()) {
        if (allowance.amount() === 0) allowance.touch();
        const waitMs = wait();
        if (waitMs <= 0) return;
        waited = true;
        await sleep(clock, Math.min(waitMs, LONGEST_WAIT_MS), options);
      }
    } finally {
      // Whoever leaves early must not let the next one overtake those before.
      void before.then(turn.resolve);
    }
  }

  return {
    get limited() {
      return limited();
    },
    want(limit) {
      const nowMs = clock.now();
      const passedMs = nowMs - countedMs;
      const used = (usedBytes * 1000) / Math.max(1, passedMs);
      const wanted = waited || passedMs > STEADY_MS ? limit : Math.min(limit, SPARE * used);
      [usedBytes, countedMs, waited] = [0, nowMs, false];
      return readers === 0 ? 0 : Math.max(1, Math.round(wanted));
    },
    enter() {
      readers += 1;
      return {
        // The share is kept until it is due again: the next lease mostly follows within milliseconds.
        [Symbol.dispose]() {
          readers -= 1;
        },
      };
    },
    async take(mostBytes, options) {
      let taken = mostBytes;
      await inTurn(() => {
        taken = bucket.take(mostBytes, clock.now());
        return taken > 0 ? 0 : Math.max(1, bucket.waitMs(mostBytes, clock.now()));
      }, options);
      usedBytes += taken;
      return limited() ? taken : mostBytes;
    },
    async spend(bytes, options) {
      if (!limited()) return;
      usedBytes += bytes;
      bucket.spend(bytes, clock.now());
      await inTurn(() => bucket.debtMs(clock.now()), options);
    },
  };
}

/**
 * Opens a blob so that no more is asked of the registry than this member may have: what a socket has been
 * promised arrives at the line's speed, however slowly it is read, so bytes are paid for before they are asked
 * for, in ranges of about a quarter of a second. Without a limit it is one request, as asked.
 * @param onEnd called when the body has ended or was left
 */
export async function openPaced(
  components: { readonly upstream: Pick<Upstream, "blob">; readonly pacer: Pacer },
  repository: Repository,
  digest: Digest,
  options: BlobOptions,
  onEnd: (error?: unknown) => void,
): Promise<UpstreamBlob> {
  const { upstream, pacer } = components;
  const { start = 0, signal } = options;
  let end = options.end ?? options.sizeBytes;
  /** Up to where bytes have been paid for. */
  let paidTo = start;

  /** Asks for the next range that may be had. */
  async function ask(from: number): Promise<UpstreamBlob> {
    let to = end;
    if (pacer.limited) {
      const room = end === undefined ? Number.MAX_SAFE_INTEGER - from : Math.max(1, end - from);
      to = from + (await pacer.take(room, { signal }));
      paidTo = to;
    }
    return await upstream.blob(repository, digest, {
      signal,
      ...(options.sizeBytes === undefined ? {} : { sizeBytes: options.sizeBytes }),
      ...(from > 0 ? { start: from } : {}),
      ...(to === undefined || to === options.sizeBytes ? {} : { end: to }),
    });
  }

  const first = await ask(start);
  end ??= first.sizeBytes;

  async function* body(): AsyncGenerator<Uint8Array, void> {
    let blob = first;
    let at = first.start;
    /** The registry knows no ranges: it sends everything, and is read no faster than it is earned. */
    let unranged = at !== start;
    let failure: unknown;
    try {
      for (;;) {
        const askedAt = at;
        let skip = at - blob.start;
        for await (const chunk of blob.body) {
          if (unranged && pacer.limited) await pacer.spend(chunk.length, { signal });
          const fresh = skip === 0 ? chunk : chunk.subarray(Math.min(skip, chunk.length));
          skip -= chunk.length - fresh.length;
          if (fresh.length === 0) continue;
          at += fresh.length;
          yield fresh;
          // A limit that was set meanwhile holds for the rest.
          if (pacer.limited && !unranged && at > paidTo) break;
        }
        if (end === undefined || at >= end || at === askedAt) return;
        blob = await ask(at);
        unranged ||= blob.start !== at;
      }
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      onEnd(failure);
    }
  }
  return { ...first, body: body() };
}
