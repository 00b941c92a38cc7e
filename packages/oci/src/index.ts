/** References, digests, descriptors, manifests, distribution paths and error codes of the OCI specifications. @packageDocumentation */
export * from "./digest.ts";
export * from "./types.ts";
