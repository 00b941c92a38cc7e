import { randomBytes } from "node:crypto";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestHex, digestOf } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { openFileStore, type PieceIndex, type Store } from "../src/index.ts";

const PIECE = 256 * 1024;

async function storeAt(directory: string): Promise<Store> {
  return await openFileStore(
    { clock: systemClock, logger: silentLogger, metrics: noMetrics },
    { directory },
  );
}

/** Turns a byte of the blob's file. */
async function rot(directory: string, hex: string, offset: number): Promise<void> {
  await using file = await open(join(directory, "blobs/sha256", hex), "r+");
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
  buffer[0]! ^= 1;
  await file.write(buffer, 0, 1, offset);
}

describe("a blob that rots on the disk", () => {
  it.each(["in pieces", "whole"])("is known by its pieces when it came %s", async (how) => {
    const directory = await mkdtemp(join(tmpdir(), "shoal-rot-"));
    try {
      const bytes = new Uint8Array(randomBytes(2 * PIECE));
      const digest = digestOf(bytes);
      {
        await using store = await storeAt(directory);
        if (how === "whole") await store.put(digest, bytes);
        else {
          await using ingest = await store.openIngest({ digest, sizeBytes: bytes.length });
          await ingest.write(0 as PieceIndex, bytes.subarray(0, PIECE));
          await ingest.write(1 as PieceIndex, bytes.subarray(PIECE));
          await ingest.commit();
        }
      }
      await rot(directory, digestHex(digest), PIECE + 7);
      await using store = await storeAt(directory);
      await using handle = (await store.open(digest))!;
      // Without hashes from before, nobody can say which piece is wrong.
      expect(await handle.intact(0 as PieceIndex)).toBe(how === "in pieces");
      expect(await handle.intact(1 as PieceIndex)).toBe(false);
      if (how === "whole") expect(await handle.pieceHash(0 as PieceIndex)).toBeUndefined();
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
