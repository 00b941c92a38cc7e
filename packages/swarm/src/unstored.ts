import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import { type AbortOptions, createCoalescer } from "@shoal/runtime";
import { type ByteRange, pieceGeometry } from "@shoal/store";
import type { Attested } from "./attestation.ts";
import type { Conduct } from "./conduct.ts";
import { heldBackFrom } from "./held-back.ts";
import { createKnownPieces, hashAt, type PieceHashes } from "./known-pieces.ts";
import { type PassthroughComponents, passThrough } from "./passthrough.ts";
import {
  createRelay,
  type Relay,
  type RelayComponents,
  type RelayReader,
  windowPieces,
} from "./relay.ts";
import { checkAll, HELD_WHOLE_BYTES, relayInOrder, relayKnown } from "./relayed.ts";
import type { PeerIdString } from "./transport.ts";
import { createWariness } from "./wariness.ts";

/** What all relayed blobs have in memory at most; beyond that blobs are read from the registry alone. */
const MOST_BYTES = 64 * 1024 * 1024;
/** A range without the blob's end is worth reading the blob through, from members, from this share of it on. */
const WORTH_CHECKING = 1 / 16;

/** Gives a blob that is not kept. */
export interface UnstoredSource {
  /** The bytes of the range. The caller owns the chunks. @throws as {@link passThrough} */
  stream(
    blob: Attested,
    repository: Repository,
    range: ByteRange,
    options?: AbortOptions,
  ): AsyncIterable<Uint8Array>;
}

/** Blobs that the store can't take: streamed from members, and from the registry what those don't have. */
export interface Unstored extends UnstoredSource, Disposable {
  /** The registry alone. */
  readonly alone: UnstoredSource;
  /** A member tells of pieces. */
  gained(blob: Attested, peer: PeerIdString, pieces: readonly number[]): void;
  memberDown(peer: PeerIdString): void;
}

export interface UnstoredComponents
  extends PassthroughComponents,
    Omit<RelayComponents, "blob" | "repository" | "known" | "isTransferred" | "onBytes"> {
  /** Whether members may be asked for what is pulled from the repository. */
  readonly mayAskMembers: (digest: Digest, repository: Repository) => boolean;
  /** Whether a transfer of the blob is under way. */
  readonly isTransferred: (blob: Attested) => boolean;
  readonly conduct: RelayComponents["conduct"] & Pick<Conduct, "inGoodStanding" | "verified">;
}

export function createUnstored(components: UnstoredComponents): Unstored {
  const { conduct, logger } = components;
  const relays = new Map<string, { readonly blob: Attested; readonly relay: Relay }>();
  const known = createKnownPieces();
  /** Of which members gave something else lately. */
  const doubted = createWariness(components.clock);
  const checks = createCoalescer<PieceHashes | undefined>();
  let bytesTaken = 0;

  function relayOf(blob: Attested, repository: Repository): Relay {
    return createRelay({
      ...components,
      blob,
      repository,
      isTransferred: () => components.isTransferred(blob),
      known(piece) {
        const hashes = known.of(blob);
        return hashes && hashAt(hashes, piece);
      },
    });
  }

  /** A place among those for whom pieces are held in memory, or `undefined` when there is none left. */
  function join(blob: Attested, repository: Repository): RelayReader | undefined {
    const bytes = memoryOf(blob);
    if (bytesTaken + bytes > MOST_BYTES) return undefined;
    bytesTaken += bytes;
    const key = `${formatRepository(repository)}@${blob.digest}/${blob.sizeBytes}`;
    const entry = relays.get(key) ?? { blob, relay: relayOf(blob, repository) };
    relays.set(key, entry);
    const reader = entry.relay.join();
    return {
      take: reader.take,
      get hope() {
        return reader.hope;
      },
      [Symbol.dispose]() {
        bytesTaken -= bytes;
        reader[Symbol.dispose]();
        if (entry.relay.readers > 0) return;
        relays.delete(key);
        entry.relay[Symbol.dispose]();
      },
    };
  }

  function misled({ digest }: Attested): void {
    doubted.misled(digest);
    logger.warn({ digest }, "what members gave of a blob is not the blob; the registry is asked");
  }

  /** Reads the blob through from members, once for all who want to know what it is made of. */
  async function check(
    blob: Attested,
    repository: Repository,
    options: AbortOptions,
  ): Promise<PieceHashes | undefined> {
    return await checks.run(
      `${formatRepository(repository)}@${blob.digest}/${blob.sizeBytes}`,
      async (signal) => {
        using reader = join(blob, repository);
        const found = reader && (await checkAll(blob, reader, { signal }));
        if (found === "wrong") misled(blob);
        if (found === undefined || found === "wrong") return undefined;
        conduct.verified(found.signers);
        known.add(blob, found.hashes);
        return found.hashes;
      },
      options,
    );
  }

  async function* relayed(
    blob: Attested,
    repository: Repository,
    reader: RelayReader,
    range: ByteRange,
    options: AbortOptions,
  ): AsyncGenerator<Uint8Array, number> {
    const toEnd = range.end > heldBackFrom(blob.sizeBytes);
    const isWorthIt = range.end - range.start >= blob.sizeBytes * WORTH_CHECKING;
    const hashes =
      known.of(blob) ?? (!toEnd && isWorthIt ? await check(blob, repository, options) : undefined);
    if (hashes !== undefined) return yield* relayKnown(blob, hashes, reader, range, options);
    if (!toEnd) return range.start;
    const isShown = yield* relayInOrder(
      {
        ...components,
        reader,
        check: async () => await check(blob, repository, options),
        onMisled: () => misled(blob),
        onVerified(verified) {
          conduct.verified(verified.signers);
          if (verified.hashes !== undefined) known.add(blob, verified.hashes);
        },
      },
      repository,
      blob,
      range,
      options,
    );
    return isShown ? range.end : range.start;
  }

  return {
    alone: {
      stream: (blob, repository, range, options) =>
        passThrough(components, repository, blob, range, options),
    },
    async *stream(blob, repository, range, options = {}) {
      const { digest } = blob;
      const mayAsk = components.mayAskMembers(digest, repository) && !doubted.isWaryOf(digest);
      using reader = mayAsk ? join(blob, repository) : undefined;
      const start =
        reader === undefined
          ? range.start
          : yield* relayed(blob, repository, reader, range, options);
      if (start < range.end)
        yield* passThrough(components, repository, blob, { start, end: range.end }, options);
    },
    gained({ digest, sizeBytes }, peer, pieces) {
      for (const { blob, relay } of relays.values())
        if (blob.digest === digest && blob.sizeBytes === sizeBytes) relay.gained(peer, pieces);
    },
    memberDown(peer) {
      for (const { relay } of relays.values()) relay.memberDown(peer);
    },
    [Symbol.dispose]() {
      for (const { relay } of relays.values()) relay[Symbol.dispose]();
    },
  };
}

/** The pieces that a reader has ahead, and what is held back for its client. */
function memoryOf({ sizeBytes }: Attested): number {
  const geometry = pieceGeometry(sizeBytes);
  const ahead = Math.min(sizeBytes, windowPieces(geometry) * geometry.pieceSizeBytes);
  return ahead + (sizeBytes <= HELD_WHOLE_BYTES ? sizeBytes : 0);
}
