import { createDigester, type Repository } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import {
  type ByteRange,
  pieceAt,
  pieceGeometry,
  type PieceIndex,
  pieceOffset,
  pieces,
} from "@shoal/store";
import type { Attested } from "./attestation.ts";
import type { Conduct } from "./conduct.ts";
import { createHeldBack, within } from "./held-back.ts";
import { hashAt, type PieceHashes } from "./known-pieces.ts";
import type { PassthroughComponents } from "./passthrough.ts";
import type { RelayedPiece, RelayReader } from "./relay.ts";
import type { PeerIdString } from "./transport.ts";
import { membersMismatch, upstreamMismatch, upstreamTruncated } from "./wrong-bytes.ts";

const CHUNK_BYTES = 1024 * 1024;
/** A blob up to this is held back whole until its digest has matched, where somebody's word is not good enough. */
export const HELD_WHOLE_BYTES = 4 * 1024 * 1024;

/** How often members are turned to when the upstream fails. */
const MOST_FAILURES = 2;

/** What was read of a blob from its first byte to its last, and its digest has matched. */
export interface Verified {
  /** Who vouched for pieces of it. */
  readonly signers: ReadonlySet<PeerIdString>;
  /** Absent where the registry gave some of it. */
  readonly hashes?: PieceHashes;
}

/** Whether the piece is what the hashes say. */
function isKnown(hashes: PieceHashes, piece: PieceIndex, { sha256 }: RelayedPiece): boolean {
  return Buffer.compare(hashAt(hashes, piece), sha256) === 0;
}

/**
 * Reads all of a blob from members, and shows nothing of it.
 * @returns what it is made of; `undefined` when members have not all of it, `"wrong"` when it is not the blob
 */
export async function checkAll(
  blob: Attested,
  reader: RelayReader,
  options: AbortOptions,
): Promise<Required<Verified> | "wrong" | undefined> {
  const geometry = pieceGeometry(blob.sizeBytes);
  const digester = createDigester(blob.digest);
  const hashes: Uint8Array[] = [];
  const signers = new Set<PeerIdString>();
  for (const piece of pieces(geometry)) {
    const given = await reader.take(piece, options);
    if (given === undefined) return undefined;
    digester.update(given.bytes);
    hashes.push(given.sha256);
    if (given.signer !== undefined) signers.add(given.signer);
  }
  return digester.digest() === blob.digest ? { hashes: Buffer.concat(hashes), signers } : "wrong";
}

/** Copies of the bytes, for a client to own. */
function* copies(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.slice(at, at + CHUNK_BYTES);
}

/**
 * Shows the range of a blob whose pieces are known, as far as members give it.
 * @returns the byte from which on they don't
 */
export async function* relayKnown(
  blob: Attested,
  hashes: PieceHashes,
  reader: RelayReader,
  range: ByteRange,
  options: AbortOptions,
): AsyncGenerator<Uint8Array, number> {
  const geometry = pieceGeometry(blob.sizeBytes);
  let at = range.start;
  while (at < range.end) {
    const piece = pieceAt(geometry, at);
    const given = await reader.take(piece, options);
    if (given === undefined || !isKnown(hashes, piece, given)) break;
    const start = pieceOffset(geometry, piece);
    yield* copies(within(given.bytes, start, { start: at, end: range.end }));
    at = Math.min(range.end, start + given.bytes.length);
  }
  return at;
}

export interface RelayInOrderComponents extends PassthroughComponents {
  readonly reader: RelayReader;
  readonly conduct: Pick<Conduct, "inGoodStanding">;
  /** Reads the blob through, from members alone, where their word is not good enough to be shown. */
  readonly check: () => Promise<PieceHashes | undefined>;
  /** What members gave does not make up the blob. */
  readonly onMisled: () => void;
  readonly onVerified: (verified: Verified) => void;
}

/**
 * Reads a blob from its first byte to its last, from members and, what they don't have, from the upstream, and
 * shows the range. What of members' bytes is shown ahead of the digest is vouched for by one in good standing, or
 * known from a check; the end is held back until the digest has matched, of a small blob all that others give.
 * @returns whether all was shown; else nothing was, since what members gave is not the blob
 * @throws ERR_DIGEST_MISMATCH, ERR_UPSTREAM_TRUNCATED, and what Upstream throws
 */
export async function* relayInOrder(
  components: RelayInOrderComponents,
  repository: Repository,
  blob: Attested,
  range: ByteRange,
  options: AbortOptions,
): AsyncGenerator<Uint8Array, boolean> {
  const { reader, upstream, conduct, onBytes } = components;
  const geometry = pieceGeometry(blob.sizeBytes);
  const digester = createDigester(blob.digest);
  const held = createHeldBack();
  const signers = new Set<PeerIdString>();
  const hashes: Uint8Array[] = [];
  let checked: PieceHashes | undefined;
  let asksMembers = true;
  let fromMembers = false;
  let fromUpstream = false;
  let failures = 0;
  let at = 0;

  function mayShow(piece: PieceIndex, given: RelayedPiece): boolean {
    if (checked !== undefined) return isKnown(checked, piece, given);
    return given.signer !== undefined && conduct.inGoodStanding(given.signer);
  }

  /** The next piece, where a member gives it and it may be shown. */
  async function takePiece(): Promise<RelayedPiece | undefined> {
    const piece = pieceAt(geometry, at);
    const given = asksMembers ? await reader.take(piece, options) : undefined;
    if (given === undefined || mayShow(piece, given)) return given;
    if (checked === undefined && blob.sizeBytes <= HELD_WHOLE_BYTES) {
      held.holdAll();
      return given;
    }
    checked ??= await components.check();
    const again = checked && (await reader.take(piece, options));
    if (again !== undefined && mayShow(piece, again)) return again;
    asksMembers = false;
    return undefined;
  }

  /** Reads on from the upstream, until members can be hoped for. @returns whether it ended for that */
  async function* readUpstream(): AsyncGenerator<Uint8Array, boolean> {
    const response = await upstream.blob(repository, blob.digest, {
      signal: options.signal,
      sizeBytes: blob.sizeBytes,
      ...(at > 0 ? { start: at } : {}),
    });
    let position = response.start;
    for await (const chunk of response.body) {
      onBytes("upstream", chunk.length);
      // A registry that ignores ranges begins at the beginning.
      let fresh = chunk.subarray(Math.min(chunk.length, Math.max(0, at - position)));
      position += chunk.length;
      const toBoundary = geometry.pieceSizeBytes - (at % geometry.pieceSizeBytes);
      const leaves = asksMembers && reader.hope && fresh.length >= toBoundary;
      if (leaves) fresh = fresh.subarray(0, toBoundary);
      digester.update(fresh);
      const shown = within(fresh, at, range);
      at += fresh.length;
      yield* held.add(shown);
      if (leaves && at < blob.sizeBytes) return true;
    }
    return false;
  }

  while (at < blob.sizeBytes) {
    const given = await takePiece();
    if (given === undefined) {
      fromUpstream = true;
      try {
        if (yield* readUpstream()) continue;
      } catch (error) {
        options.signal?.throwIfAborted();
        // What this machine can't read, members may be bringing.
        if (!asksMembers || !reader.hope || failures === MOST_FAILURES) throw error;
        failures += 1;
        continue;
      }
      if (at < blob.sizeBytes) throw upstreamTruncated(blob, repository, at);
    } else {
      fromMembers = true;
      if (given.signer !== undefined) signers.add(given.signer);
      hashes.push(given.sha256);
      const rest = given.bytes.subarray(at % geometry.pieceSizeBytes);
      digester.update(rest);
      const start = at;
      at += rest.length;
      for (const chunk of copies(within(rest, start, range))) yield* held.add(chunk);
    }
  }
  if (digester.digest() !== blob.digest) {
    if (!fromMembers) {
      upstream.reject(repository, blob.digest);
      throw upstreamMismatch(blob, repository);
    }
    components.onMisled();
    if (held.shownBytes === 0) return false;
    throw membersMismatch(blob);
  }
  if (fromUpstream) upstream.confirm(repository, blob.digest);
  components.onVerified({ signers, ...(fromUpstream ? {} : { hashes: Buffer.concat(hashes) }) });
  yield* held.release();
  return true;
}
