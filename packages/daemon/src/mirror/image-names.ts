import { type Digest, formatReference, type Repository, type Tag } from "@shoal/oci";
import type { Logger } from "@shoal/runtime";
import type { Store } from "@shoal/store";
import type { Resolution } from "@shoal/swarm";

const MAX_NAMES = 1000;

/** Lists what engines pull by tag among the store's images. Disposing waits until what is named has been written. */
export interface ImageNames extends AsyncDisposable {
  /** A tag was resolved. Nobody waits for the name to be written. */
  resolved(repository: Repository, tag: Tag, manifest: Resolution): void;
}

export function createImageNames(components: {
  readonly store: Pick<Store, "nameImage" | "on">;
  readonly logger: Logger;
}): ImageNames {
  const { store, logger } = components;
  /** What was written last, 1,000 names: a tag that still names the same is not written again. */
  const named = new Map<string, Digest>();
  // The store's life: its names go with what they name.
  store.on("removed", ({ digest }) => {
    for (const [name, known] of named) if (known === digest) named.delete(name);
  });

  const writing = new Set<Promise<void>>();
  let closed = false;

  return {
    resolved(repository, tag, { digest, mediaType, bytes }) {
      if (closed) return;
      const name = formatReference({ repository, tag });
      if (named.get(name) === digest) return;
      named.delete(name);
      named.set(name, digest);
      const [oldest] = named.keys();
      if (named.size > MAX_NAMES) named.delete(oldest!);
      const written = store
        .nameImage({ name, descriptor: { mediaType, digest, size: bytes.length } })
        .catch((error: unknown) => {
          named.delete(name);
          logger.warn({ error }, "an image's name could not be kept");
        })
        .finally(() => writing.delete(written));
      writing.add(written);
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      await Promise.all(writing);
    },
  };
}
