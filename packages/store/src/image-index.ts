import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseDescriptor } from "@shoal/oci";
import { createTurns, type Logger, replaceFile } from "@shoal/runtime";
import { withStoreErrors } from "./store-io.ts";
import type { StoredImage } from "./types.ts";

/** Annotations that name an image: the spec's, and the full name as containerd writes it. */
const REF_NAME = "org.opencontainers.image.ref.name";
const FULL_NAME = "io.containerd.image.name";

/** The layout's `index.json`: which names the store has. OCI image spec, image-layout.md. */
export interface ImageIndex {
  name(image: StoredImage): Promise<void>;
  list(): readonly StoredImage[];
  /** Takes the names of images that are gone off the list. */
  forget(isGone: (image: StoredImage) => boolean): Promise<void>;
}

export async function openImageIndex(directory: string, logger: Logger): Promise<ImageIndex> {
  const path = join(directory, "index.json");
  const images = new Map<string, StoredImage>();
  for (const image of await readIndex(path, logger)) images.set(image.name, image);
  const inTurn = createTurns();

  async function write(): Promise<void> {
    const manifests = [...images.values()].map(({ name, descriptor }) => ({
      ...descriptor,
      annotations: { ...descriptor.annotations, [FULL_NAME]: name, [REF_NAME]: refName(name) },
    }));
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests,
    };
    await withStoreErrors(path, () => replaceFile(path, `${JSON.stringify(index, null, 2)}\n`));
  }

  // The layout wants the file; without it the store does as well.
  if (images.size === 0)
    await write().catch((error: unknown) => logger.warn({ error }, "index.json can't be written"));
  return {
    async name(image) {
      images.set(image.name, image);
      await inTurn(write);
    },
    list: () => [...images.values()],
    async forget(isGone) {
      const gone = [...images.values()].filter(isGone);
      for (const { name } of gone) images.delete(name);
      if (gone.length > 0) await inTurn(write);
    },
  };
}

async function readIndex(path: string, logger: Logger): Promise<StoredImage[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  try {
    const { manifests } = JSON.parse(text) as { manifests?: unknown };
    if (!Array.isArray(manifests)) throw new TypeError("index.json has no list of manifests");
    return manifests.map(parseDescriptor).flatMap((descriptor) => {
      const { [FULL_NAME]: name, [REF_NAME]: _ref, ...annotations } = descriptor.annotations ?? {};
      if (name === undefined) return [];
      const { annotations: _all, ...plain } = descriptor;
      const rest = Object.keys(annotations).length === 0 ? {} : { annotations };
      return [{ name, descriptor: { ...plain, ...rest } }];
    });
  } catch (error) {
    // Names are a convenience; the blobs are there without them.
    logger.warn({ error, path }, "index.json can't be read; it is made anew");
    return [];
  }
}

/** The tag alone, as the spec wants it; a digest where there is no tag. */
function refName(name: string): string {
  const at = name.indexOf("@");
  const tagged = at === -1 ? name : name.slice(0, at);
  const colon = tagged.lastIndexOf(":");
  return colon > tagged.lastIndexOf("/") ? tagged.slice(colon + 1) : name.slice(at + 1);
}
