import type { Image } from "@shoal/api";
import { MAX_MANIFEST_BYTES, parseManifest } from "@shoal/oci";
import type { Store, StoredImage } from "@shoal/store";

interface Extent {
  sizeBytes: number;
  complete: boolean;
}

/** The images that the store has names for, with what of them is there. */
export async function listImages(
  store: Pick<Store, "images" | "readAll" | "stat">,
): Promise<Image[]> {
  const images = await store.images();
  return await Promise.all(
    images.map(async ({ name, descriptor }) => ({
      name,
      digest: descriptor.digest,
      mediaType: descriptor.mediaType,
      ...(await extentOf(store, descriptor)),
    })),
  );
}

async function extentOf(
  store: Pick<Store, "readAll" | "stat">,
  { digest, mediaType }: StoredImage["descriptor"],
): Promise<Extent> {
  const bytes = await store.readAll(digest, MAX_MANIFEST_BYTES, { isUse: false });
  if (bytes === undefined) return { sizeBytes: 0, complete: false };
  const { blobs, manifests } = parseManifest(bytes, mediaType);
  const extent: Extent = { sizeBytes: bytes.length, complete: true };
  for (const blob of blobs) {
    const here = store.stat(blob.digest);
    extent.sizeBytes += here?.sizeBytes ?? 0;
    extent.complete &&= here !== undefined;
  }
  // Of an index, the platforms that were never asked for are nobody's loss.
  const children = manifests.filter((child) => store.stat(child.digest) !== undefined);
  for (const child of children) {
    const inner = await extentOf(store, child);
    extent.sizeBytes += inner.sizeBytes;
    extent.complete &&= inner.complete;
  }
  extent.complete &&= manifests.length === 0 || children.length > 0;
  return extent;
}
