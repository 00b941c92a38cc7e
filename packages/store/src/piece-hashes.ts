import { createHash } from "node:crypto";
import { createDigester, type Digest } from "@shoal/oci";
import {
  type PieceGeometry,
  type PieceIndex,
  pieceGeometry,
  pieceLength,
  pieceOffset,
} from "./geometry.ts";
import type { BlobInfo, RecordTable } from "./types.ts";

const HASH_BYTES = 32;

/** Reads a committed blob. */
export type ReadBytes = (offset: number, length: number) => Promise<Uint8Array>;

/** The sha256 of each piece of committed blobs, as the pieces were when the blob was verified. */
export interface PieceHashes {
  keep(digest: Digest, hashes: ReadonlyMap<PieceIndex, Uint8Array>): Promise<void>;
  /**
   * The hashes one after another. Those of a blob that came whole are computed when they are first asked for,
   * and kept if the blob still has its digest. @returns `undefined` when it has not
   */
  of(info: BlobInfo, read: ReadBytes): Promise<Uint8Array | undefined>;
  forget(digest: Digest): Promise<void>;
}

/** Keeps the hashes in a table, as base64. */
export function createPieceHashes(table: RecordTable<string>): PieceHashes {
  const computing = new Map<Digest, Promise<Uint8Array | undefined>>();

  async function find(info: BlobInfo, read: ReadBytes): Promise<Uint8Array | undefined> {
    const { digest, sizeBytes } = info;
    const geometry = pieceGeometry(sizeBytes);
    const kept = await table.get(digest);
    if (kept !== undefined) {
      const hashes = new Uint8Array(Buffer.from(kept, "base64"));
      if (hashes.length === geometry.pieceCount * HASH_BYTES) return hashes;
    }
    const hashes = await hashPieces(digest, geometry, read);
    if (hashes !== undefined) await table.put(digest, Buffer.from(hashes).toString("base64"));
    return hashes;
  }

  return {
    async keep(digest, hashes) {
      const whole = new Uint8Array(hashes.size * HASH_BYTES);
      for (const [piece, hash] of hashes) whole.set(hash, piece * HASH_BYTES);
      await table.put(digest, Buffer.from(whole).toString("base64"));
    },
    async of(info, read) {
      const { digest } = info;
      const running =
        computing.get(digest) ?? find(info, read).finally(() => computing.delete(digest));
      computing.set(digest, running);
      return await running;
    },
    forget: async (digest) => await table.delete(digest),
  };
}

async function hashPieces(
  digest: Digest,
  geometry: PieceGeometry,
  read: ReadBytes,
): Promise<Uint8Array | undefined> {
  const hashes = new Uint8Array(geometry.pieceCount * HASH_BYTES);
  const digester = createDigester(digest);
  for (let index = 0; index < geometry.pieceCount; index++) {
    const piece = index as PieceIndex;
    const bytes = await read(pieceOffset(geometry, piece), pieceLength(geometry, piece));
    digester.update(bytes);
    hashes.set(sha256(bytes), index * HASH_BYTES);
  }
  return digester.digest() === digest ? hashes : undefined;
}

/** The sha256 of a piece. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

/** What a handle of a blob says of its pieces. */
export interface PieceChecks {
  pieceHash(piece: PieceIndex): Promise<Uint8Array | undefined>;
  intact(piece: PieceIndex, read?: Uint8Array): Promise<boolean>;
}

/** @param find the hashes one after another, asked for once */
export function createPieceChecks(
  sizeBytes: number,
  read: ReadBytes,
  find: () => Promise<Uint8Array | undefined>,
): PieceChecks {
  const geometry = pieceGeometry(sizeBytes);
  let found: Promise<Uint8Array | undefined> | undefined;

  async function pieceHash(piece: PieceIndex): Promise<Uint8Array | undefined> {
    found ??= find();
    return (await found)?.subarray(piece * HASH_BYTES, (piece + 1) * HASH_BYTES);
  }

  return {
    pieceHash,
    async intact(piece, given) {
      const hash = await pieceHash(piece);
      if (hash === undefined) return false;
      const bytes =
        given ?? (await read(pieceOffset(geometry, piece), pieceLength(geometry, piece)));
      return Buffer.compare(sha256(bytes), hash) === 0;
    },
  };
}
