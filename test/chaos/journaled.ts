import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { digestHex, parseDigest } from "@shoal/oci";
import { pieceGeometry } from "@shoal/store";
import type { Content } from "../lab/images.ts";

const HEADER_BYTES = 16;
const RECORD_BYTES = 40;

/** Bytes of these blobs that a daemon which is down has in its store, verified or in pieces that are journaled. */
export async function arrivedBytes(state: string, blobs: readonly Content[]): Promise<number> {
  const store = join(state, "store");
  const whole = new Set(await readdir(join(store, "blobs/sha256")));
  let bytes = 0;
  for (const { descriptor } of blobs) {
    const hex = digestHex(parseDigest(descriptor.digest));
    if (whole.has(hex)) bytes += descriptor.size;
    else bytes += await journaledBytes(join(store, `ingests/sha256-${hex}`), descriptor.size);
  }
  return bytes;
}

/** Of an ingest. See docs/store.md, "Ingests". */
async function journaledBytes(path: string, sizeBytes: number): Promise<number> {
  const journal = await readFile(`${path}.journal`).catch(() => undefined);
  const data = await stat(`${path}.data`).catch(() => undefined);
  if (journal === undefined || data === undefined) return 0;
  const { pieceSizeBytes } = pieceGeometry(sizeBytes);
  let bytes = 0;
  for (let at = HEADER_BYTES; at + RECORD_BYTES <= journal.length; at += RECORD_BYTES)
    bytes += Math.min(pieceSizeBytes, sizeBytes - journal.readUInt32BE(at) * pieceSizeBytes);
  return bytes;
}
