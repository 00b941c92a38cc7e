import { createHash } from "node:crypto";
import { parseDigest } from "@shoal/oci";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createBitfield } from "../src/bitfield.ts";
import { type PieceIndex, pieceGeometry, pieceLength, pieceOffset } from "../src/geometry.ts";
import { createPrefixHash } from "../src/prefix-hash.ts";

const MIB = 1024 * 1024;

function createWatched(sizeBytes: number) {
  const blob = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 4096) blob.writeUInt32LE(at, at);
  const geometry = pieceGeometry(sizeBytes);
  const digest = parseDigest(`sha256:${createHash("sha256").update(blob).digest("hex")}`);
  const have = createBitfield(geometry.pieceCount);
  const readBack: PieceIndex[] = [];
  const bytesOf = (piece: PieceIndex): Uint8Array => {
    const start = pieceOffset(geometry, piece);
    return blob.subarray(start, start + pieceLength(geometry, piece));
  };
  const prefix = createPrefixHash(digest, geometry, have, async (piece) => {
    readBack.push(piece);
    return await Promise.resolve(bytesOf(piece));
  });
  const write = (piece: number): void => {
    have.set(piece as PieceIndex);
    prefix.written(piece as PieceIndex, bytesOf(piece as PieceIndex));
  };
  return { prefix, digest, geometry, readBack, write };
}

describe("the hash of a blob that is arriving", () => {
  it("reads nothing back of pieces that come a little out of order", async () => {
    const { prefix, digest, geometry, readBack, write } = createWatched(16 * MIB);
    const pieces = [...Array(geometry.pieceCount).keys()];
    for (let at = 0; at < pieces.length; at += 16)
      for (const piece of pieces.slice(at, at + 16).toReversed()) write(piece);
    expect(await prefix.finish()).toBe(digest);
    expect(readBack).toEqual([]);
  });

  it("is right in any order, and keeps no more than it may", async () => {
    const { geometry } = createWatched(12 * MIB);
    const order = fc.shuffledSubarray([...Array(geometry.pieceCount).keys()], {
      minLength: geometry.pieceCount,
    });
    await fc.assert(
      fc.asyncProperty(order, async (pieces) => {
        const { prefix, digest, write } = createWatched(12 * MIB);
        for (const piece of pieces) {
          write(piece);
          if (piece % 3 === 0) await Promise.resolve();
        }
        expect(await prefix.finish()).toBe(digest);
      }),
      { numRuns: 15 },
    );
  });

  it("reads back what came too early to be kept", async () => {
    const { prefix, digest, geometry, readBack, write } = createWatched(16 * MIB);
    for (let piece = geometry.pieceCount - 1; piece >= 0; piece--) write(piece);
    expect(await prefix.finish()).toBe(digest);
    expect(readBack.length).toBe(geometry.pieceCount / 2 - 1);
  });
});
