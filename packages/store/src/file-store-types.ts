import type { Digest } from "@shoal/oci";
import type { Clock, Logger, MetricsRegister } from "@shoal/runtime";
import type { Collection } from "./gc/collector.ts";
import type { Pin } from "./pins.ts";
import type { Rebuilt } from "./rebuild.ts";
import type { ScrubPass } from "./scrub.ts";
import type { Store, StoredImage } from "./types.ts";

export interface FileStoreComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
  /** Those of the blobs that no other machine is known to keep. @default none */
  readonly lastCopies?: (digests: readonly Digest[]) => Promise<ReadonlySet<Digest>>;
}

export interface FileStoreInit {
  /** An OCI image layout, with `ingests/` and `index/` beside it. Made if missing. */
  readonly directory: string;
  /** Bytes of the file system that stay free. @default 0 */
  readonly minFreeBytes?: number;
  /** What the store may hold. @default no quota */
  readonly maxBytes?: number;
  /** Of what it may hold: over it, room is made. @default 95 */
  readonly highWaterPercent?: number;
  /** Room is made down to this. @default 85 */
  readonly lowWaterPercent?: number;
  /** Each blob is read and compared with its digest once in so many days. @default never */
  readonly scrubDays?: number;
}

export interface CollectInit {
  /** What the store may still hold afterwards. Bytes. @default its low mark */
  readonly targetBytes?: number | undefined;
  /** Removes nothing. @default false */
  readonly dryRun?: boolean | undefined;
}

/** A store that keeps within its room. */
export interface FileStore extends Store {
  /** With all that each of them keeps, in bytes. */
  pins(): Promise<readonly (Pin & { readonly sizeBytes: number })[]>;
  /**
   * Keeps a blob, and all that it names where it is a manifest, until it is unpinned. Resolves when that is on
   * the disk. @throws ERR_BLOB_NOT_STORED, ERR_STORE_FULL, ERR_STORE_IO
   */
  pin(name: string, digest: Digest): Promise<Pin>;
  /** Takes back the pin of a name, or all of a digest. @returns what was pinned */
  unpin(nameOrDigest: string): Promise<readonly Pin[]>;
  /** Reads all blobs and compares them with their digests, or joins who does so. What is wrong is put aside. */
  verify(): Promise<ScrubPass>;
  /** The last pass of {@link verify}, or the one under way. */
  readonly scrubPass: ScrubPass | undefined;
  /** Makes the index anew from the blobs. */
  rebuild(): Promise<Rebuilt>;
  /** The images that lead to a blob, whether it is here or not. */
  imagesNaming(digest: Digest): Promise<readonly StoredImage[]>;
  /** Removes what was used least recently, and what has been of no use for a day. */
  collect(init?: CollectInit): Promise<Collection>;
}
