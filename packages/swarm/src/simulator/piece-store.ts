import type { Digest } from "@shoal/oci";
import {
  type BlobHandle,
  type BlobInfo,
  createBitfield,
  createMemoryStore,
  pieceGeometry,
  type RecordTable,
  type Store,
  type StoreEvents,
} from "@shoal/store";
import { zeros } from "./zeros.ts";

/** Stands for every piece's hash. */
const HASH = new Uint8Array(32);

/**
 * A store that keeps which pieces there are and no bytes: all of them are zeros, and every digest matches.
 * Tables are a memory store's.
 */
export function createPieceStore(): Store {
  const tables = createMemoryStore();
  const blobs = new Map<Digest, BlobInfo>();
  const committed = new Set<(info: BlobInfo) => void>();

  function openHandle({ digest, sizeBytes }: BlobInfo): BlobHandle {
    return {
      digest,
      sizeBytes,
      read: async (_offset, length) => zeros(length),
      async *stream(range = { start: 0, end: sizeBytes }) {
        for (let at = range.start; at < range.end; at += 1024 * 1024)
          yield zeros(Math.min(1024 * 1024, range.end - at));
      },
      pieceHash: async () => HASH,
      intact: async () => true,
      async [Symbol.asyncDispose]() {},
    };
  }

  return {
    ...tables,
    // Nobody is restarted; a million rows would only fill the memory.
    table: <Value>(name: string) =>
      name === "ledgers" ? forgetfulTable<Value>() : tables.table<Value>(name),
    stat: (digest) => blobs.get(digest),
    blobs: () => blobs.values(),
    async open(digest) {
      const info = blobs.get(digest);
      return info && openHandle(info);
    },
    async readAll(digest) {
      const info = blobs.get(digest);
      return info && zeros(info.sizeBytes);
    },
    async openIngest({ digest, sizeBytes }) {
      const geometry = pieceGeometry(sizeBytes);
      const have = createBitfield(geometry.pieceCount);
      return {
        digest,
        sizeBytes,
        geometry,
        have,
        async write(piece) {
          have.set(piece);
        },
        read: async (_offset, length) => zeros(length),
        pieceHash: (piece) => (have.has(piece) ? HASH : undefined),
        async drop(pieces) {
          for (const piece of pieces) have.clear(piece);
        },
        async commit() {
          const info = { digest, sizeBytes };
          blobs.set(digest, info);
          for (const listener of committed) listener(info);
          return info;
        },
        async discard() {},
        async [Symbol.asyncDispose]() {},
      };
    },
    on<Type extends keyof StoreEvents>(
      type: Type,
      listener: (...args: StoreEvents[Type]) => void,
    ): Disposable {
      // Nothing is removed from this store, so nobody hears of anything but commits.
      const hears = listener as (info: BlobInfo) => void;
      if (type === "committed") committed.add(hears);
      return {
        [Symbol.dispose]() {
          committed.delete(hears);
        },
      };
    },
  };
}

function forgetfulTable<Value>(): RecordTable<Value> {
  return {
    get: async () => undefined,
    async put() {},
    async delete() {},
    async *entries() {},
  };
}
