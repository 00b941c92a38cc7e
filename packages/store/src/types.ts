import type { Descriptor, Digest } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import type { ReadonlyBitfield } from "./bitfield.ts";
import type { Removal } from "./gc/collector.ts";
import type { StoreState } from "./health.ts";
import type { PieceGeometry, PieceIndex } from "./geometry.ts";
import type { ScrubFinding } from "./scrub.ts";

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** Half-open byte range. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface StoreUsage {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly ingests: number;
  readonly ingestBytes: number;
  /** Free bytes of the file system that holds the store. */
  readonly freeBytes: number;
  /** Whether it takes what arrives. @default ok */
  readonly state?: StoreState;
  /** What it failed at last, with what to do about it; absent when ok. */
  readonly why?: string;
  /** What the store may take: its quota, or what the disk has above the floor. Absent without a limit. */
  readonly capacityBytes?: number;
}

export interface ReadAllOptions {
  /** Whether the blob counts as used by it, so that it is kept longer. @default true */
  readonly isUse?: boolean;
}

/** A committed blob, held open: it cannot be removed under its reader. */
export interface BlobHandle extends AsyncDisposable {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Exactly `length` bytes from `offset`, in a buffer that the caller owns. @throws ERR_RANGE */
  read(offset: number, length: number, options?: AbortOptions): Promise<Uint8Array>;
  /** The bytes of the range (default all) in chunks of at most 1 MiB, which the caller owns. */
  stream(range?: ByteRange, options?: AbortOptions): AsyncIterable<Uint8Array>;
  /** sha256 of a piece as it was when the blob was verified; `undefined` when the blob is no longer right. */
  pieceHash(piece: PieceIndex): Promise<Uint8Array | undefined>;
  /**
   * Whether a piece still has that hash.
   * @param read all of the piece, by who has just read it. @default it is read
   * @throws ERR_STORE_IO
   */
  intact(piece: PieceIndex, read?: Uint8Array): Promise<boolean>;
}

export interface WriteOptions extends AbortOptions {
  /** The sha256 that the bytes must have; with another one the piece is not taken. */
  readonly sha256?: Uint8Array | undefined;
  /** Nobody else uses the bytes any more: their memory is freed as soon as they are stored. @default false */
  readonly owned?: boolean | undefined;
}

/**
 * A blob that is arriving. One at a time for a digest; disposing closes it and keeps what has
 * arrived for a later {@link Store.openIngest}.
 */
export interface Ingest extends AsyncDisposable {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly geometry: PieceGeometry;
  /** Pieces that have arrived. Live: it grows with `write`. */
  readonly have: ReadonlyBitfield;
  /**
   * Writes one whole piece and journals its hash, so that it outlives a kill. A piece already there is left alone.
   * The caller changes the bytes no more.
   * @throws ERR_PIECE_LENGTH, ERR_PIECE_MISMATCH, ERR_STORE_FULL, ERR_STORE_IO
   */
  write(piece: PieceIndex, bytes: Uint8Array, options?: WriteOptions): Promise<void>;
  /** Bytes within pieces that have arrived, in a buffer that the caller owns. @throws ERR_PIECE_MISSING, ERR_RANGE */
  read(offset: number, length: number, options?: AbortOptions): Promise<Uint8Array>;
  /** sha256 of a piece that has arrived, as journaled. */
  pieceHash(piece: PieceIndex): Uint8Array | undefined;
  /** Takes pieces back, so that they are fetched again. */
  drop(pieces: Iterable<PieceIndex>): Promise<void>;
  /**
   * Checks size and digest and makes the blob visible. The ingest is closed by it.
   * On a mismatch the ingest stays open with all its pieces, for its owner to drop.
   * @throws ERR_PIECE_MISSING, ERR_DIGEST_MISMATCH, ERR_STORE_FULL, ERR_STORE_IO
   */
  commit(options?: AbortOptions): Promise<BlobInfo>;
  /** Closes the ingest and removes what has arrived. */
  discard(): Promise<void>;
}

/** A small table of JSON records that outlives the process: resolutions, roster, bans. */
export interface RecordTable<Value> {
  get(key: string): Promise<Value | undefined>;
  /** `durable` waits for the disk. @default false */
  put(key: string, value: Value, options?: { readonly durable?: boolean }): Promise<void>;
  delete(key: string): Promise<void>;
  /** In key order, those that start with `prefix` (default all). */
  entries(prefix?: string): AsyncIterable<readonly [string, Value]>;
}

/** A name that an image was pulled by, as `index.json` of the layout lists it. */
export interface StoredImage {
  /** `registry/repository:tag` or `…@digest`. */
  readonly name: string;
  readonly descriptor: Descriptor;
}

export interface StoreEvents {
  /** A blob was verified and made visible. */
  readonly committed: [BlobInfo];
  /** A blob was removed. */
  readonly removed: [BlobInfo];
  /** A blob was found to be wrong, and has been removed. Its size is what its file had. */
  readonly rotted: [ScrubFinding];
  /** What was written into tables before can be read now. */
  readonly indexOpened: [];
  /** Something has gone to make room; of each of its blobs `removed` tells as well. */
  readonly collected: [Removal];
}

export interface Store extends AsyncDisposable {
  /** From memory: cheap enough for every request. */
  stat(digest: Digest): BlobInfo | undefined;
  /**
   * Whether another machine may rely on the blob's being here: it is not about to be removed.
   * @param insists of the two machines this one keeps the blob when both are about to remove it. @default false
   */
  keeps(digest: Digest, insists?: boolean): boolean;
  /** Somebody has used the blob without opening it, out of memory of its own. */
  used(digest: Digest): void;
  /**
   * Somebody has read bytes of the blob that are wrong: it is looked at now.
   * @returns whether it was wrong, and is here no more
   */
  doubt(digest: Digest): Promise<boolean>;
  /** Every committed blob. */
  blobs(): Iterable<BlobInfo>;
  /** Opens a committed blob, or `undefined`. */
  open(digest: Digest, options?: AbortOptions): Promise<BlobHandle | undefined>;
  /** All of a small committed blob. @throws ERR_BLOB_TOO_LARGE over `limitBytes` */
  readAll(
    digest: Digest,
    limitBytes: number,
    options?: ReadAllOptions,
  ): Promise<Uint8Array | undefined>;
  /** Verifies and commits bytes at once. @throws ERR_DIGEST_MISMATCH, ERR_STORE_FULL, ERR_STORE_IO */
  put(digest: Digest, bytes: Uint8Array): Promise<BlobInfo>;
  /**
   * Opens or resumes the ingest of a blob and reserves its room.
   * @throws ERR_INGEST_OPEN if it is open already, ERR_BLOB_EXISTS, ERR_STORE_FULL, ERR_STORE_IO
   */
  openIngest(target: BlobInfo, options?: AbortOptions): Promise<Ingest>;
  /** Removes a committed blob. @returns whether it was there. */
  remove(digest: Digest): Promise<boolean>;
  /**
   * Whether the tables hold what was written before. Where the disk did not let them be read they seem empty,
   * until `indexOpened` tells that they can be.
   */
  readonly isIndexOpen: boolean;
  table<Value>(name: string): RecordTable<Value>;
  /** Lists the image in the layout's `index.json`, replacing what had that name. */
  nameImage(image: StoredImage): Promise<void>;
  images(): Promise<readonly StoredImage[]>;
  usage(): Promise<StoreUsage>;
  on<Type extends keyof StoreEvents>(
    type: Type,
    listener: (...args: StoreEvents[Type]) => void,
  ): Disposable;
}
