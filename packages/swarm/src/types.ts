import type { Digest, Repository, Tag } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import type { BlobInfo, ByteRange } from "@shoal/store";
import type { MemberConduct } from "./conduct.ts";
import type { LimitsChange } from "./uplink/site-limits.ts";
import type { SetLimits, UplinkLimits } from "./wire/messages.ts";

/** What a tag or a digest turned out to be. */
export interface Resolution {
  readonly digest: Digest;
  readonly mediaType: string;
  /** The manifest's exact bytes, verified against `digest` on this machine. */
  readonly bytes: Uint8Array;
  /** How long ago the upstream said so. */
  readonly ageMs: number;
  /** The upstream could not be asked, and the record is older than the fresh time. */
  readonly stale: boolean;
  /** Where this machine got it. */
  readonly from: "upstream" | "site" | "store";
}

export interface ResolveOptions extends AbortOptions {
  /** The client's `Accept` media types; a tag's record is kept by them. */
  readonly accept?: readonly string[];
  /** What is not here is asked of the upstream, and of no member. @default false */
  readonly alone?: boolean;
}

/** Bytes of one blob by where this machine got them. */
export interface TransferProgress {
  readonly sizeBytes: number;
  /** Bytes that are here and will not be fetched again. */
  readonly arrivedBytes: number;
  readonly fromUpstreamBytes: number;
  readonly fromPeersBytes: number;
  /** Bytes that were here before this transfer began. */
  readonly fromStoreBytes: number;
}

/** A blob of the store, or one that is arriving: one ingest a blob, a cursor a reader. */
export interface OpenBlob extends AsyncDisposable {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Whether it was in the store when opened. */
  readonly committed: boolean;
  progress(): TransferProgress;
  /**
   * The bytes of the range (default all), in order, as they may be shown: what this machine read from the
   * upstream while it arrives, what came from peers when it is verified, and the last min(64 KiB, size) bytes
   * only when the digest has matched. The caller owns the chunks. Throws when the blob cannot be had or is wrong.
   */
  stream(range?: ByteRange, options?: AbortOptions): AsyncIterable<Uint8Array>;
  /** Resolves when the blob is verified and committed; rejects with what ended the transfer. */
  finished(options?: AbortOptions): Promise<void>;
}

export interface BlobRequest {
  readonly digest: Digest;
  /** From the descriptor; looked up in the site and at the upstream when absent. */
  readonly sizeBytes?: number;
  /** Where the upstream has it. */
  readonly repository: Repository;
  /** What is not here is read from the upstream, and from no member; it is not kept. @default false */
  readonly alone?: boolean;
}

/** Limits in force; what is absent is not limited. */
export interface SwarmLimits extends UplinkLimits {
  /** What this machine sends to members, in bytes per second. */
  readonly uploadBytesPerSecond?: number;
  /** The setting that the site's limits come from, where it was made at run time. */
  readonly set?: SetLimits;
}

/** A change at run time: `null` takes a limit away, what is absent stays. */
export interface SwarmLimitsChange extends LimitsChange {
  readonly uploadBytesPerSecond?: number | null;
}

/** What the site knows and does for one machine's pulls. */
export interface Swarm extends AsyncDisposable {
  /** @throws what Upstream throws, when neither the site nor the upstream can answer */
  resolve(
    repository: Repository,
    name: Tag | Digest,
    options?: ResolveOptions,
  ): Promise<Resolution>;
  /** Opens a blob, starting or joining its transfer. Disposing leaves; the last one to leave ends it. */
  open(request: BlobRequest, options?: AbortOptions): Promise<OpenBlob>;
  /** Whether the blob or manifest is here, for all who may read the repository. */
  holds(digest: Digest, repository: Repository): boolean;
  /** The blob's size, without a transfer. @throws ERR_BLOB_SIZE_UNKNOWN, and what Upstream throws */
  stat(request: BlobRequest, options?: AbortOptions): Promise<BlobInfo>;
  /** Those of the blobs that no other live member says it keeps; none without other members. */
  lastCopies(digests: readonly Digest[]): Promise<ReadonlySet<Digest>>;
  /** Transfers under way. */
  transfers(): readonly { readonly digest: Digest; readonly progress: TransferProgress }[];
  /** What this member has given others. */
  readonly uploadedBytes: number;
  limits(): SwarmLimits;
  /** `bytesPerSecond` and `connections` hold for the whole site, until all of its members have stopped. */
  setLimits(change: SwarmLimitsChange): void;
  /** Struck and banned members, for status. */
  suspects(): readonly MemberConduct[];
}
