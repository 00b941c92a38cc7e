import { formatReference, isDigest, parseDigest, parseReference } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import type { FileStore, Pin } from "@shoal/store";

/** Which images the store never lets go of. */
export interface KeptImages {
  /** Keeps what a reference names now, or a digest. @throws ERR_IMAGE_NOT_STORED, ERR_REFERENCE_INVALID */
  keep(name: string): Promise<Pin>;
  /** @returns what was kept under that name or digest */
  release(name: string): Promise<readonly Pin[]>;
}

export function createKeptImages(
  store: Pick<FileStore, "images" | "stat" | "pin" | "unpin">,
): KeptImages {
  /** The name that is kept, in full. @throws ERR_REFERENCE_INVALID */
  function nameOf(text: string): string {
    return isDigest(text) ? text : formatReference(parseReference(text));
  }

  return {
    async keep(text) {
      const name = nameOf(text);
      const named = (await store.images()).find((image) => image.name === name);
      const digest = isDigest(name)
        ? parseDigest(name)
        : (parseReference(name).digest ?? named?.descriptor.digest);
      if (digest === undefined || store.stat(digest) === undefined)
        throw new CodedError(
          "ERR_IMAGE_NOT_STORED",
          `${name} is not in the store; pull it first: \`shoal pull ${text}\``,
        );
      return await store.pin(name, digest);
    },
    release: async (text) => await store.unpin(nameOf(text)),
  };
}
