import { open } from "node:fs/promises";
import { type AbortOptions, CodedError } from "@shoal/runtime";
import { outOfRange } from "./failures.ts";
import { createPieceChecks, type ReadBytes } from "./piece-hashes.ts";
import { withStoreErrors } from "./store-io.ts";
import type { BlobHandle, BlobInfo, ByteRange } from "./types.ts";

const CHUNK_BYTES = 1024 * 1024;

/** Opens a committed blob's file; its bytes stay readable after the file is removed. */
export async function openBlobFile(
  path: string,
  { digest, sizeBytes }: BlobInfo,
  findHashes: (read: ReadBytes) => Promise<Uint8Array | undefined>,
  onClosed: () => void,
): Promise<BlobHandle> {
  const file = await withStoreErrors(path, () => open(path, "r"));
  let closed = false;

  async function read(
    offset: number,
    length: number,
    options: AbortOptions = {},
  ): Promise<Uint8Array> {
    options.signal?.throwIfAborted();
    if (offset < 0 || length < 0 || offset + length > sizeBytes)
      throw outOfRange(offset, length, sizeBytes);
    const buffer = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await withStoreErrors(path, () => file.read(buffer, 0, length, offset));
    if (bytesRead !== length)
      throw new CodedError("ERR_STORE_IO", `${path} is shorter than it was; look at the disk`, {
        details: { path },
      });
    return new Uint8Array(buffer.buffer, 0, length);
  }

  return {
    digest,
    sizeBytes,
    read,
    ...createPieceChecks(sizeBytes, read, async () => await findHashes(read)),
    async *stream(range: ByteRange = { start: 0, end: sizeBytes }, options: AbortOptions = {}) {
      for (let at = range.start; at < range.end; at += CHUNK_BYTES)
        yield await read(at, Math.min(CHUNK_BYTES, range.end - at), options);
    },
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      onClosed();
      await file.close();
    },
  };
}
