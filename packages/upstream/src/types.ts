import type { Digest, RegistryHost, Repository, Tag } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import type { PullLimit } from "./pull-limit.ts";

/** A manifest as the registry sent it. */
export interface UpstreamManifest {
  /** Computed over `bytes`, of schema 1 over its payload; never taken from a header. */
  readonly digest: Digest;
  /** The response's `Content-Type`, without parameters. */
  readonly mediaType: string;
  /** The exact body, at most 4 MiB. */
  readonly bytes: Uint8Array;
}

/** What a HEAD told; a registry may leave out any of it. */
export interface UpstreamHead {
  readonly digest?: Digest;
  readonly mediaType?: string;
  readonly sizeBytes?: number;
}

export interface UpstreamBlob {
  /** Where `body` begins in the blob: 0 when the registry ignored the range asked for. */
  readonly start: number;
  /** Size of the whole blob, where the registry tells it. */
  readonly sizeBytes?: number;
  /**
   * The bytes from `start` on. It ends at the range's end or the blob's; a body that breaks off is resumed
   * inside, and when that fails the iteration throws ERR_UPSTREAM_TRUNCATED or ERR_UPSTREAM_UNREACHABLE.
   * To be iterated once; leaving the iteration early closes the connection. A body that nobody iterates
   * holds its connection until the signal aborts.
   */
  readonly body: AsyncIterable<Uint8Array>;
}

/** A response passed through as it came: tags/list and referrers. */
export interface UpstreamDocument {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  /** Query of the next page, out of the `Link` header. */
  readonly nextQuery?: string;
  /** OCI-Filters-Applied of a referrers answer. */
  readonly filtersApplied?: string;
}

export interface ManifestOptions extends AbortOptions {
  /** Media types that the client accepts. @default every manifest type that Shoal knows */
  readonly accept?: readonly string[];
}

export interface BlobOptions extends AbortOptions {
  /** First byte wanted. @default 0 */
  readonly start?: number;
  /** Byte after the last one wanted. @default the blob's end */
  readonly end?: number;
  /** The descriptor's size, where known: a body that goes past it is cut with ERR_UPSTREAM_TOO_LONG. */
  readonly sizeBytes?: number;
}

/** Whether a registry is well, as this machine sees it. */
export interface RegistryHealth {
  readonly registry: RegistryHost;
  /** No request before this time of the wall clock, after a 429 or 503 with Retry-After. Milliseconds. */
  readonly backOffUntilMs?: number;
  /**
   * Code of the last failure, cleared by a success. A 401, 403 or 404 is about a repository and counts as
   * a success here.
   */
  readonly lastErrorCode?: string;
  readonly pullLimit?: PullLimit;
}

/**
 * Client of registries' pull side. Every method throws a CodedError with one of
 * ERR_UPSTREAM_NOT_FOUND, ERR_UPSTREAM_UNAUTHORIZED, ERR_UPSTREAM_DENIED, ERR_UPSTREAM_RATE_LIMITED,
 * ERR_UPSTREAM_UNREACHABLE, ERR_UPSTREAM_PROXY, ERR_UPSTREAM_UNKNOWN_HOST, ERR_UPSTREAM_TLS, ERR_UPSTREAM_TIMEOUT,
 * ERR_UPSTREAM_STATUS, ERR_UPSTREAM_NOT_A_REGISTRY, ERR_UPSTREAM_TOO_LONG, ERR_UPSTREAM_TRUNCATED,
 * ERR_UPSTREAM_FORBIDDEN_ADDRESS, ERR_UPSTREAM_REDIRECT, ERR_UPSTREAM_REALM (a login is to be sent to a
 * foreign host), ERR_UPSTREAM_ENCODING (a compressed answer), ERR_REGISTRY_SETTINGS,
 * ERR_UPSTREAM_CLOSED (after the disposal),
 * ERR_MANIFEST_TOO_LARGE, ERR_DIGEST_MISMATCH; or the signal's reason.
 */
export interface Upstream extends AsyncDisposable {
  /** Asks what a tag or digest names, without its body. */
  headManifest(
    repository: Repository,
    name: Tag | Digest,
    options?: ManifestOptions,
  ): Promise<UpstreamHead>;
  /** Fetches a manifest; by digest it is verified. */
  manifest(
    repository: Repository,
    name: Tag | Digest,
    options?: ManifestOptions,
  ): Promise<UpstreamManifest>;
  headBlob(repository: Repository, digest: Digest, options?: AbortOptions): Promise<UpstreamHead>;
  /**
   * Opens a blob or a range of it. The bytes are not verified here: whoever has all of them does that, and tells
   * by `confirm` or `reject`.
   */
  blob(repository: Repository, digest: Digest, options?: BlobOptions): Promise<UpstreamBlob>;
  /** The bytes that were given of a blob are right. */
  confirm(repository: Repository, digest: Digest): void;
  /**
   * The bytes that were given of a blob since it was last confirmed or rejected are not the blob's. An endpoint
   * that gave them rests, and is not asked for this blob for an hour.
   * @returns whether the blob can be asked for again, of somebody else
   */
  reject(repository: Repository, digest: Digest): boolean;
  /** `query` is passed on as it is: `n`, `last`. */
  tags(
    repository: Repository,
    query: URLSearchParams,
    options?: AbortOptions,
  ): Promise<UpstreamDocument>;
  referrers(
    repository: Repository,
    digest: Digest,
    query: URLSearchParams,
    options?: AbortOptions,
  ): Promise<UpstreamDocument>;
  /** Asks the registry nothing for `forMs`: another machine was told so. */
  pause(registry: RegistryHost, forMs: number): void;
  health(): readonly RegistryHealth[];
}
