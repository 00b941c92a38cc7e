import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { digestOf, MEDIA_TYPES } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { type FileStore, openFileStore, type PieceIndex } from "../src/index.ts";

const PIECE = 256 * 1024;

/** What is in a sample store, of whatever version. */
export const SAMPLE = (() => {
  const config = Buffer.from('{"architecture":"amd64","os":"linux"}');
  const layer = Buffer.alloc(3000, "layer ");
  const describe = (mediaType: string, bytes: Uint8Array) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: describe("application/vnd.oci.image.config.v1+json", config),
      layers: [describe("application/vnd.oci.image.layer.v1.tar", layer)],
    }),
  );
  const arriving = Buffer.alloc(2 * PIECE + 1000, "arriving ");
  return {
    blobs: [config, layer, manifest],
    image: {
      name: "docker.io/library/sample:v1",
      descriptor: describe(MEDIA_TYPES.ociManifest, manifest),
    },
    pin: "docker.io/library/sample:v1",
    /** Its second piece is there. */
    arriving: {
      bytes: arriving,
      digest: digestOf(arriving),
      piece: 1 as PieceIndex,
      pieceBytes: PIECE,
    },
    row: { table: "sample", key: "key", value: { kept: true } },
  };
})();

export async function openSample(directory: string): Promise<FileStore> {
  return await openFileStore(
    { clock: systemClock, logger: silentLogger, metrics: noMetrics },
    { directory },
  );
}

export async function fillSample(store: FileStore): Promise<void> {
  const { blobs, image, pin, arriving, row } = SAMPLE;
  for (const bytes of blobs) await store.put(digestOf(bytes), bytes);
  await store.nameImage(image);
  await store.pin(pin, image.descriptor.digest);
  await store.table(row.table).put(row.key, row.value, { durable: true });
  const { digest, bytes, piece, pieceBytes } = arriving;
  await using ingest = await store.openIngest({ digest, sizeBytes: bytes.length });
  await ingest.write(piece, bytes.subarray(piece * pieceBytes, (piece + 1) * pieceBytes));
}

/** A folder's files by their paths, deflated, in base64. */
export async function pack(folder: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const packed = paths.map(async (path) => [
    path.slice(folder.length + 1),
    deflateRawSync(await readFile(path), { level: 9 }).toString("base64"),
  ]);
  return Object.fromEntries(await Promise.all(packed)) as Record<string, string>;
}

export async function unpack(
  packed: Readonly<Record<string, string>>,
  folder: string,
): Promise<void> {
  for (const [path, text] of Object.entries(packed)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), inflateRawSync(Buffer.from(text, "base64")));
  }
}
