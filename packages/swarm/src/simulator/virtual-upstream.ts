import { CodedError } from "@shoal/runtime";
import type { BlobOptions, Upstream } from "@shoal/upstream";
import type { EventQueue } from "./event-queue.ts";
import type { FairLinks, LinkIndex } from "./fair-links.ts";
import { zeros } from "./zeros.ts";

/** As a connection delivers. */
const CHUNK_BYTES = 256 * 1024;

export interface VirtualRegistry {
  readonly sizeBytes: number;
  /** One way, in milliseconds. */
  readonly latencyMs: number;
  readonly onChunk?: () => void;
}

/** One member's way to the one blob of a registry. Bytes come as the links let them, whoever reads. */
export function createVirtualUpstream(
  components: { readonly queue: EventQueue; readonly links: FairLinks },
  registry: VirtualRegistry,
  /** The site's uplink, this member's own link, and its way to the registry. */
  over: readonly LinkIndex[],
): Upstream {
  const { queue, links } = components;

  async function* body(
    start: number,
    end: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    let requested = 0;
    let arrived = 0;
    let taken = 0;
    let bell = Promise.withResolvers<void>();
    const next = (): number => {
      const chunk = Math.min(CHUNK_BYTES, end - start - requested);
      requested += chunk;
      return chunk;
    };
    const onAbort = (): void => bell.resolve();
    signal?.addEventListener("abort", onAbort);
    const flow = links.start(over, next(), () => {
      arrived = requested;
      registry.onChunk?.();
      bell.resolve();
      return next();
    });
    try {
      while (taken < end - start) {
        while (arrived <= taken) {
          signal?.throwIfAborted();
          await bell.promise;
          bell = Promise.withResolvers<void>();
        }
        signal?.throwIfAborted();
        const chunk = Math.min(CHUNK_BYTES, arrived - taken);
        taken += chunk;
        yield zeros(chunk);
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      flow.cancel();
    }
  }

  async function refuse(): Promise<never> {
    throw new CodedError("ERR_UPSTREAM_NOT_FOUND", "the simulated registry has one blob only");
  }

  return {
    headManifest: refuse,
    manifest: refuse,
    headBlob: async (_repository, digest) => ({ digest, sizeBytes: registry.sizeBytes }),
    async blob(_repository, _digest, options: BlobOptions = {}) {
      const { start = 0, end = registry.sizeBytes, signal } = options;
      const answered = Promise.withResolvers<void>();
      queue.at(queue.now() + 2 * registry.latencyMs, answered.resolve);
      await answered.promise;
      signal?.throwIfAborted();
      return { start, sizeBytes: registry.sizeBytes, body: body(start, end, signal) };
    },
    confirm() {},
    reject: () => false,
    tags: refuse,
    referrers: refuse,
    health: () => [],
    pause() {},
    async [Symbol.asyncDispose]() {},
  };
}
