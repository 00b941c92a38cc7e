import type { Digest } from "@shoal/oci";
import { hasCode, type Logger } from "@shoal/runtime";
import { openBlobFile } from "./blob-file.ts";
import type { BlobSet } from "./blob-set.ts";
import { blobTooLarge } from "./failures.ts";
import type { PieceHashes } from "./piece-hashes.ts";
import type { BlobHandle, BlobInfo } from "./types.ts";

export interface BlobReadersComponents {
  readonly blobs: BlobSet;
  readonly pathOf: (digest: Digest) => string;
  readonly pieceHashes: PieceHashes;
  /** The blob's file is gone, whoever removed it. */
  readonly onGone: (info: BlobInfo) => void;
  readonly logger: Logger;
}

/** Opens blobs, and knows which of them are open. */
export interface BlobReaders {
  /** Blobs that are open, with how many have them so. */
  readonly open: ReadonlyMap<Digest, number>;
  read(digest: Digest): Promise<BlobHandle | undefined>;
  /** All of a small blob. @throws ERR_BLOB_TOO_LARGE */
  readAll(digest: Digest, limitBytes: number): Promise<Uint8Array | undefined>;
}

export function createBlobReaders(components: BlobReadersComponents): BlobReaders {
  const { blobs, pathOf, pieceHashes, onGone, logger } = components;
  const readers = new Map<Digest, number>();

  async function read(digest: Digest): Promise<BlobHandle | undefined> {
    const info = blobs.get(digest);
    if (info === undefined) return undefined;
    readers.set(digest, (readers.get(digest) ?? 0) + 1);
    const leave = (): void => {
      const left = readers.get(digest)! - 1;
      if (left === 0) readers.delete(digest);
      else readers.set(digest, left);
    };
    try {
      return await openBlobFile(
        pathOf(digest),
        info,
        async (bytes) => await pieceHashes.of(info, bytes),
        leave,
      );
    } catch (error) {
      leave();
      if (!hasCode(error, "ERR_STORE_IO") || error.details["errno"] !== "ENOENT") throw error;
      logger.warn({ digest }, "a blob's file is gone; it is fetched again when it is asked for");
      onGone(info);
      return undefined;
    }
  }

  return {
    open: readers,
    read,
    async readAll(digest, limitBytes) {
      const info = blobs.get(digest);
      if (info === undefined) return undefined;
      if (info.sizeBytes > limitBytes) throw blobTooLarge(digest, info.sizeBytes, limitBytes);
      await using handle = await read(digest);
      return await handle?.read(0, info.sizeBytes);
    },
  };
}
