/**
 * The words of the OCI specs: references, digests, descriptors, manifests, platforms, and the paths, ranges
 * and errors of the distribution API. Everything is parsed once, at the edge, into types that are right.
 *
 * ```ts
 * const { repository, tag } = parseReference("alpine");
 * formatRepository(repository); // "docker.io/library/alpine"
 * ```
 *
 * @packageDocumentation
 */
export * from "./digest.ts";
export { type DistributionRequest, parseDistributionPath, resolveNaming } from "./distribution.ts";
export { parseDescriptor, parseManifest } from "./manifest.ts";
export { MANIFEST_ACCEPT, MAX_MANIFEST_BYTES, MEDIA_TYPES } from "./media-types.ts";
export {
  formatRepository,
  isRegistryHost,
  isTag,
  parseRegistryHost,
  parseRepositoryName,
  parseTag,
  registryApiHost,
  withLibrary,
} from "./names.ts";
export { type OciErrorCode, ociErrorBody } from "./oci-error.ts";
export { formatPlatform, hostPlatform, parsePlatform, selectPlatform } from "./platform.ts";
export { parseRange, type RequestedRange } from "./range.ts";
export { formatReference, parseReference } from "./reference.ts";
export { isSchema1, schema1Digest } from "./schema1.ts";
export type * from "./types.ts";
