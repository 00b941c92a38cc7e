import type { Digest } from "@shoal/oci";
import { type Clock, freeMemory, sleep } from "@shoal/runtime";
import { type BlobHandle, pieceAt, pieceGeometry, pieceLength, type Store } from "@shoal/store";
import type { Holdings } from "./holdings.ts";
import type { AnswerOptions, PeerIdString } from "./transport.ts";
import { encodeBlockReply } from "./wire/codec.ts";
import { createTokenBucket } from "./uplink/token-bucket.ts";
import type { Attestation, Block } from "./wire/messages.ts";

/** Blocks that are read and sent at a time. */
const UPLOAD_SLOTS = 24;
/** Handles of committed blobs are kept this long after their last block. Milliseconds. */
const HANDLE_IDLE_MS = 10_000;
const MAX_HANDLES = 64;
/** With a limit: whoever would wait longer than this is told to ask others. Milliseconds. */
const QUEUE_MS = 1000;

/** Bytes of one piece, with what vouches for the piece. */
export interface AttestedBytes {
  readonly bytes: Uint8Array;
  readonly attestation: Attestation;
}

/** A blob that is arriving and already given to others. */
export interface PartialBlob {
  readonly sizeBytes: number;
  /** The bytes, the caller's own, and who vouches for their piece, or `undefined` while it is missing. */
  read(offset: number, length: number): Promise<AttestedBytes | undefined>;
  /** Others that have the piece at `offset`. */
  others(offset: number): readonly PeerIdString[];
}

/** Gives members blocks of what this machine has, a bounded number at a time. */
export interface Uploads extends AsyncDisposable {
  readonly uploadedBytes: number;
  /** What is sent at most, all members together; `undefined` for no limit. */
  bytesPerSecond: number | undefined;
  /** A block holds its slot until it has been sent. */
  serve(
    peer: PeerIdString,
    block: Block,
    options: Pick<AnswerOptions, "afterSent">,
  ): Promise<Uint8Array[]>;
}

export interface UploadsComponents {
  readonly store: Pick<Store, "open">;
  readonly holdings: Holdings;
  readonly clock: Clock;
  readonly partial: (digest: Digest) => PartialBlob | undefined;
  readonly shares: (digest: Digest) => boolean;
  readonly onBytes: (lengthBytes: number, digest: Digest, peer: PeerIdString) => void;
  /** @default no limit */
  readonly bytesPerSecond?: number | undefined;
}

interface CachedHandle {
  readonly handle: Promise<BlobHandle | undefined>;
  users: number;
  usedMs: number;
}

export function createUploads(components: UploadsComponents): Uploads {
  const { store, holdings, clock, partial, shares, onBytes } = components;
  const handles = new Map<Digest, CachedHandle>();
  const bucket = createTokenBucket();
  let limit = components.bytesPerSecond;
  let active = 0;
  let uploadedBytes = 0;
  let sweep: Disposable | undefined;

  async function close(digest: Digest, cached: CachedHandle): Promise<void> {
    handles.delete(digest);
    await (await cached.handle)?.[Symbol.asyncDispose]();
  }

  function scheduleSweep(): void {
    sweep ??= clock.schedule(HANDLE_IDLE_MS, () => {
      sweep = undefined;
      for (const [digest, cached] of handles)
        if (cached.users === 0 && clock.now() - cached.usedMs >= HANDLE_IDLE_MS)
          void close(digest, cached);
      if (handles.size > 0) scheduleSweep();
    });
  }

  async function readCommitted(block: Block): Promise<AttestedBytes | undefined> {
    let cached = handles.get(block.digest);
    if (cached === undefined) {
      for (const [digest, other] of handles)
        if (handles.size >= MAX_HANDLES && other.users === 0) void close(digest, other);
      cached = { handle: store.open(block.digest), users: 0, usedMs: clock.now() };
      handles.set(block.digest, cached);
      scheduleSweep();
    }
    cached.users += 1;
    try {
      const handle = await cached.handle;
      if (handle === undefined) {
        handles.delete(block.digest);
        return undefined;
      }
      if (handle.sizeBytes !== block.size || block.offset + block.length > block.size)
        return undefined;
      const geometry = pieceGeometry(block.size);
      const piece = pieceAt(geometry, block.offset);
      const bytes = await handle.read(block.offset, block.length);
      const whole = block.length === pieceLength(geometry, piece) ? bytes : undefined;
      const attestation = await holdings.attest(handle, piece, whole);
      return attestation && { bytes, attestation };
    } catch (error) {
      handles.delete(block.digest);
      throw error;
    } finally {
      cached.users -= 1;
      cached.usedMs = clock.now();
    }
  }

  async function read(block: Block): Promise<AttestedBytes | undefined> {
    const arriving = partial(block.digest);
    if (arriving !== undefined && arriving.sizeBytes === block.size) {
      const given = await arriving.read(block.offset, block.length);
      if (given !== undefined) return given;
    }
    return await readCommitted(block);
  }

  function crowded(): boolean {
    if (active >= UPLOAD_SLOTS) return true;
    if (limit === undefined) return false;
    bucket.setRate(limit, clock.now());
    return bucket.debtMs(clock.now()) > QUEUE_MS;
  }

  async function pace(lengthBytes: number): Promise<void> {
    if (limit === undefined) return;
    bucket.setRate(limit, clock.now());
    bucket.spend(lengthBytes, clock.now());
    const waitMs = bucket.debtMs(clock.now());
    if (waitMs > 0) await sleep(clock, waitMs);
  }

  return {
    get uploadedBytes() {
      return uploadedBytes;
    },
    get bytesPerSecond() {
      return limit;
    },
    set bytesPerSecond(value) {
      limit = value;
    },
    async serve(peer, block, { afterSent }) {
      if (!shares(block.digest)) return encodeBlockReply({ status: "missing", alternatives: [] });
      if (crowded()) {
        const others = partial(block.digest)?.others(block.offset) ?? [];
        return encodeBlockReply({ status: "busy", alternatives: others.slice(0, 8) });
      }
      active += 1;
      let given: AttestedBytes | undefined;
      afterSent((free) => {
        active -= 1;
        if (free && given !== undefined) freeMemory(given.bytes);
      });
      given = await read(block);
      if (given === undefined) return encodeBlockReply({ status: "missing", alternatives: [] });
      const { bytes, attestation } = given;
      await pace(bytes.length);
      uploadedBytes += bytes.length;
      onBytes(bytes.length, block.digest, peer);
      return encodeBlockReply({ status: "ok", attestation, alternatives: [] }, bytes);
    },
    async [Symbol.asyncDispose]() {
      sweep?.[Symbol.dispose]();
      await Promise.all([...handles].map(async ([digest, cached]) => await close(digest, cached)));
    },
  };
}
