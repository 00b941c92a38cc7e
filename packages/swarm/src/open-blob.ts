import type { Digest, Repository } from "@shoal/oci";
import { type AbortOptions, CodedError, hasCode, raceSignal } from "@shoal/runtime";
import type { BlobHandle, ByteRange, Store } from "@shoal/store";
import { heldBackFrom } from "./held-back.ts";
import { readArriving } from "./reader.ts";
import type { Transfer } from "./transfer.ts";
import type { OpenBlob } from "./types.ts";
import type { UnstoredSource } from "./unstored.ts";

/** Failures of the store, in the face of which a blob is streamed unstored. */
export function isStoreFailure(error: unknown): boolean {
  return hasCode(
    error,
    "ERR_STORE_FULL",
    "ERR_STORE_IO",
    "ERR_STORE_READ_ONLY",
    "ERR_STORE_PERMISSION",
  );
}

/** A blob of the store. The handle is closed with it. */
export function committedBlob(handle: BlobHandle): OpenBlob {
  const { digest, sizeBytes } = handle;
  return {
    digest,
    sizeBytes,
    committed: true,
    progress: () => ({
      sizeBytes,
      arrivedBytes: sizeBytes,
      fromUpstreamBytes: 0,
      fromPeersBytes: 0,
      fromStoreBytes: sizeBytes,
    }),
    stream: (range = { start: 0, end: sizeBytes }, options = {}) => handle.stream(range, options),
    async finished() {},
    [Symbol.asyncDispose]: async () => await handle[Symbol.asyncDispose](),
  };
}

/** A blob that is arriving. When the store fails it goes on unstored from where the reader is. */
export function arrivingBlob(
  transfer: Transfer,
  components: {
    readonly store: Pick<Store, "open">;
    readonly repository: Repository;
    readonly unstored: UnstoredSource;
    /** Nothing of it is shown before it is verified. */
    readonly wary: boolean;
  },
): OpenBlob {
  const { digest, sizeBytes } = transfer;
  const showable = components.wary ? 0 : heldBackFrom(sizeBytes);
  const membership = transfer.join();

  async function reopen(): Promise<BlobHandle> {
    const handle = await components.store.open(digest);
    if (handle !== undefined) return handle;
    throw new CodedError(
      "ERR_BLOB_REMOVED",
      "the blob was removed from the store while it was being read; ask for it again",
      { details: { digest } },
    );
  }

  async function* stream(
    range: ByteRange = { start: 0, end: sizeBytes },
    options: AbortOptions = {},
  ): AsyncGenerator<Uint8Array, void> {
    using user = transfer.join();
    let at = range.start;
    const what = { range, showable };
    try {
      for await (const chunk of readArriving(transfer, user, reopen, what, options)) {
        at += chunk.length;
        yield chunk;
      }
    } catch (error) {
      if (!isStoreFailure(error)) throw error;
      const { unstored, repository } = components;
      yield* unstored.stream(transfer, repository, { ...range, start: at }, options);
    }
  }

  return {
    digest,
    sizeBytes,
    committed: false,
    progress: () => transfer.arrival.progress(),
    stream,
    async finished(options = {}) {
      await raceSignal(transfer.finished, options.signal);
    },
    async [Symbol.asyncDispose]() {
      membership[Symbol.dispose]();
    },
  };
}

/** A blob that is not kept, for the reason given. */
export function unstoredBlob(
  blob: { readonly digest: Digest; readonly sizeBytes: number },
  repository: Repository,
  unstored: UnstoredSource,
  reason: unknown,
): OpenBlob {
  const { digest, sizeBytes } = blob;
  return {
    digest,
    sizeBytes,
    committed: false,
    progress: () => ({
      sizeBytes,
      arrivedBytes: 0,
      fromUpstreamBytes: 0,
      fromPeersBytes: 0,
      fromStoreBytes: 0,
    }),
    stream: (range = { start: 0, end: sizeBytes }, options = {}) =>
      unstored.stream(blob, repository, range, options),
    async finished() {
      throw reason;
    },
    async [Symbol.asyncDispose]() {},
  };
}
