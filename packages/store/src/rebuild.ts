import { type Digest, isDigest, MAX_MANIFEST_BYTES, MEDIA_TYPES } from "@shoal/oci";
import type { BlobInfo, RecordTable } from "./types.ts";

export interface ManifestScan {
  readonly blobs: () => Iterable<BlobInfo>;
  /** The first bytes of a blob; reading them is no use of it. */
  readonly read: (digest: Digest, lengthBytes: number) => Promise<Uint8Array | undefined>;
  readonly manifests: RecordTable<{ readonly mediaType: string }>;
}

/** Finds the manifests among the blobs, and notes media types where none is. @returns how many there are */
export async function findManifests({ blobs, read, manifests }: ManifestScan): Promise<number> {
  let count = 0;
  for (const { digest, sizeBytes } of blobs()) {
    if (sizeBytes === 0 || sizeBytes > MAX_MANIFEST_BYTES) continue;
    const start = await read(digest, Math.min(sizeBytes, 64));
    if (start === undefined || !/^\s*\{/.test(Buffer.from(start).toString("latin1"))) continue;
    const bytes = await read(digest, sizeBytes);
    const mediaType = bytes && manifestTypeOf(bytes);
    if (mediaType === undefined) continue;
    count += 1;
    if ((await manifests.get(digest)) === undefined) await manifests.put(digest, { mediaType });
  }
  return count;
}

/** Takes rows of digests that are not here out of tables. @returns how many there were */
export async function pruneTables(
  tables: readonly Pick<RecordTable<unknown>, "entries" | "delete">[],
  isHere: (digest: Digest) => boolean,
): Promise<number> {
  let count = 0;
  for (const table of tables)
    for await (const [key] of table.entries())
      if (!isDigest(key) || !isHere(key)) {
        await table.delete(key);
        count += 1;
      }
  return count;
}

/**
 * The media type of a blob that looks like a manifest; `undefined` for any other. A manifest without `mediaType`
 * is OCI's: Docker's has it always.
 */
export function manifestTypeOf(bytes: Uint8Array): string | undefined {
  let body: unknown;
  try {
    body = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof body !== "object" || body === null) return undefined;
  const { mediaType, manifests, config, layers } = body as Record<string, unknown>;
  const isIndex = Array.isArray(manifests);
  const isManifest = typeof config === "object" && config !== null && Array.isArray(layers);
  if (isIndex === isManifest) return undefined;
  if (typeof mediaType === "string" && mediaType !== "") return mediaType;
  return isIndex ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.ociManifest;
}
