import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, digestAlgorithm, digestHex, isDigest } from "@shoal/oci";
import { withStoreErrors } from "./store-io.ts";
import type { BlobInfo } from "./types.ts";

const ALGORITHMS = ["sha256", "sha512"] as const;

/** Where things are in a store's folder. */
export interface Layout {
  readonly ingestFolder: string;
  /** LevelDB. */
  readonly indexFolder: string;
  blob(digest: Digest): string;
  ingest(digest: Digest, end: ".data" | ".journal" | ".journal.tmp"): string;
}

export function layoutOf(directory: string): Layout {
  const ingestFolder = join(directory, "ingests");
  return {
    ingestFolder,
    indexFolder: join(directory, "index"),
    blob: (digest) => join(directory, "blobs", digestAlgorithm(digest), digestHex(digest)),
    ingest: (digest, end) =>
      join(ingestFolder, `${digestAlgorithm(digest)}-${digestHex(digest)}${end}`),
  };
}

/** The digest that an ingest's file is of; `undefined` for other files. */
export function digestOfIngest(name: string): Digest | undefined {
  const [, algorithm, hex] = /^([a-z0-9]+)-([0-9a-f]+)\./.exec(name) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? digest : undefined;
}

/** Makes the folders that are missing. */
export async function makeLayout(directory: string): Promise<void> {
  await withStoreErrors(directory, async () => {
    for (const algorithm of ALGORITHMS)
      await mkdir(join(directory, "blobs", algorithm), { recursive: true });
    await mkdir(join(directory, "ingests"), { recursive: true });
    // Written once: a full disk would take what is there and give nothing for it.
    const layout = JSON.stringify({ imageLayoutVersion: "1.0.0" });
    const path = join(directory, "oci-layout");
    if ((await readFile(path, "utf8").catch(() => "")) !== layout) await writeFile(path, layout);
  });
}

/** A blob's file, with the time at which it was written. Wall-clock milliseconds. */
export interface FoundBlob extends BlobInfo {
  readonly writtenMs: number;
}

/** Every file in the blob tree that has a digest's name. */
export async function* findBlobs(directory: string): AsyncGenerator<FoundBlob> {
  for (const algorithm of ALGORITHMS) {
    const folder = join(directory, "blobs", algorithm);
    for (const hex of await withStoreErrors(folder, () => readdir(folder))) {
      const digest = `${algorithm}:${hex}`;
      const found = isDigest(digest) ? await stat(join(folder, hex)) : undefined;
      if (isDigest(digest) && found?.isFile() === true)
        yield { digest, sizeBytes: found.size, writtenMs: found.mtimeMs };
    }
  }
}
