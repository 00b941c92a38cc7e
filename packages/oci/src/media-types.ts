/** Media types of manifests. OCI image spec, media-types.md; Docker's manifest v2, schema 2. */
export const MEDIA_TYPES = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

/** What to send as `Accept` for a manifest of any kind: docker-registry 2.8 needs all of them named. */
export const MANIFEST_ACCEPT: readonly string[] = Object.values(MEDIA_TYPES);

/** Largest manifest that is taken, in bytes. OCI distribution spec, "Pushing manifests". */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
