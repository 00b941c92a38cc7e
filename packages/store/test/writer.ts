/**
 * Writes pieces of a blob into a store until it is killed, or commits it. Arguments: store folder, blob file,
 * digest, `to-the-end` or `until-killed`: then it waits with the last piece, however late the kill comes.
 */
import { readFile } from "node:fs/promises";
import { parseDigest } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { openFileStore, pieceLength, pieceOffset, pieces } from "../src/index.ts";

const [directory, file, digest, until] = process.argv.slice(2) as [string, string, string, string];
const bytes = new Uint8Array(await readFile(file));
const store = await openFileStore(
  { clock: systemClock, logger: silentLogger, metrics: noMetrics },
  { directory },
);
const ingest = await store.openIngest({ digest: parseDigest(digest), sizeBytes: bytes.length });
process.stdout.write(`open ${ingest.have.count}\n`);
const order = [...pieces(ingest.geometry)].filter((piece) => !ingest.have.has(piece)).toReversed();
for (const piece of order) {
  if (until === "until-killed" && piece === order.at(-1)) {
    process.stdout.write("waiting\n");
    await new Promise((resolve) => {
      setTimeout(resolve, 60_000);
    });
  }
  const start = pieceOffset(ingest.geometry, piece);
  await ingest.write(piece, bytes.subarray(start, start + pieceLength(ingest.geometry, piece)));
  process.stdout.write(`${piece}\n`);
}
await ingest.commit();
process.stdout.write("committed\n");
