/** Writes pieces of a blob into a store until it is killed. Arguments: store folder, blob file, digest. */
import { readFile } from "node:fs/promises";
import { parseDigest } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { openFileStore, pieceLength, pieceOffset, pieces } from "../src/index.ts";

const [directory, file, digest] = process.argv.slice(2) as [string, string, string];
const bytes = new Uint8Array(await readFile(file));
const store = await openFileStore(
  { clock: systemClock, logger: silentLogger, metrics: noMetrics },
  { directory },
);
const ingest = await store.openIngest({ digest: parseDigest(digest), sizeBytes: bytes.length });
process.stdout.write(`open ${ingest.have.count}\n`);
const order = [...pieces(ingest.geometry)].filter((piece) => !ingest.have.has(piece)).toReversed();
for (const piece of order) {
  const start = pieceOffset(ingest.geometry, piece);
  await ingest.write(piece, bytes.subarray(start, start + pieceLength(ingest.geometry, piece)));
  process.stdout.write(`${piece}\n`);
}
await ingest.commit();
process.stdout.write("committed\n");
