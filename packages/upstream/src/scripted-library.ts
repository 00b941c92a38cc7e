import { randomBytes } from "node:crypto";
import { type Digest, type DigestAlgorithm, digestOf, MEDIA_TYPES } from "@shoal/oci";

/** Bytes with what a registry says of them. */
interface LibraryContent {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
}

export interface LibraryImage {
  readonly digest: Digest;
  readonly manifest: Uint8Array;
  readonly config: Digest;
  readonly layers: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[];
}

/** What a scripted registry has: blobs for every repository, manifests for each. */
export interface ScriptedLibrary {
  addBlob(bytes: Uint8Array, algorithm?: DigestAlgorithm): Digest;
  addManifest(name: string, bytes: Uint8Array, mediaType: string, tag?: string): Digest;
  addImage(name: string, tag: string, layers: readonly (number | Uint8Array)[]): LibraryImage;
  blob(digest: Digest): LibraryContent | undefined;
  manifest(name: string, reference: string): LibraryContent | undefined;
  /** Each once. */
  manifests(name: string): readonly LibraryContent[];
  tags(name: string): readonly string[];
}

export function createScriptedLibrary(): ScriptedLibrary {
  const blobs = new Map<Digest, LibraryContent>();
  const manifests = new Map<string, LibraryContent>();

  function addBlob(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
    const digest = digestOf(bytes, algorithm);
    blobs.set(digest, { bytes, digest, mediaType: "application/octet-stream" });
    return digest;
  }
  function addManifest(name: string, bytes: Uint8Array, mediaType: string, tag?: string): Digest {
    const digest = digestOf(bytes);
    manifests.set(`${name}:${digest}`, { bytes, digest, mediaType });
    if (tag !== undefined) manifests.set(`${name}:${tag}`, { bytes, digest, mediaType });
    return digest;
  }

  return {
    addBlob,
    addManifest,
    addImage(name, tag, contents) {
      const layers = contents.map((content) => {
        const bytes = typeof content === "number" ? randomBytes(content) : content;
        return { digest: addBlob(bytes), bytes };
      });
      const configBytes = Buffer.from(
        JSON.stringify({
          architecture: "amd64",
          os: "linux",
          config: {},
          // The layers are not compressed, so that their digests are those of their content.
          rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
        }),
      );
      const config = addBlob(configBytes);
      const manifest = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MEDIA_TYPES.ociManifest,
          config: {
            mediaType: "application/vnd.oci.image.config.v1+json",
            digest: config,
            size: configBytes.length,
          },
          layers: layers.map(({ digest, bytes }) => ({
            mediaType: "application/vnd.oci.image.layer.v1.tar",
            digest,
            size: bytes.length,
          })),
        }),
      );
      const digest = addManifest(name, manifest, MEDIA_TYPES.ociManifest, tag);
      return { digest, manifest, config, layers };
    },
    blob: (digest) => blobs.get(digest),
    manifest: (name, reference) => manifests.get(`${name}:${reference}`),
    manifests: (name) =>
      [...manifests]
        .filter(([key, { digest }]) => key === `${name}:${digest}`)
        .map(([, one]) => one),
    tags(name) {
      const prefix = `${name}:`;
      return [...manifests.keys()]
        .filter((key) => key.startsWith(prefix))
        .map((key) => key.slice(prefix.length))
        .filter((reference) => !reference.includes(":"))
        .sort();
    },
  };
}
