import { createHash } from "node:crypto";
import { formatRepository, type Repository } from "@shoal/oci";
import { type AbortOptions, type Clock, freeMemory, type Logger, raceSignal } from "@shoal/runtime";
import { createBitfield, type PieceGeometry, pieceGeometry, type PieceIndex } from "@shoal/store";
import { transferEnded } from "./arrival.ts";
import { type Attested, type Notary, vouchedHash } from "./attestation.ts";
import type { Conduct } from "./conduct.ts";
import { createExchange, type GivenPiece } from "./exchange.ts";
import { createExclusions } from "./exclusions.ts";
import type { PeerClient } from "./peer-client.ts";
import type { Source } from "./picker.ts";
import type { Answer, Registration } from "./registration.ts";
import { createRelayLine } from "./relay-line.ts";
import type { PeerIdString } from "./transport.ts";
import { fetchesUnleased, SILENT_MS, WATCH_MS } from "./unleased.ts";
import type { Zones } from "./zones.ts";

/** What each reader has fetched ahead, and of larger pieces at least so many. */
const WINDOW_BYTES = 4 * 1024 * 1024;
const LEAST_WINDOW_PIECES = 2;
/** Without an answer from any coordinator for this long nothing is expected of members. Milliseconds. */
const UNANSWERED_MS = 5000;
/** A reader whom members have let wait in vain so often expects nothing more of them. */
const MOST_SILENCES = 2;

/** How many pieces a reader has in memory at most. */
export function windowPieces({ pieceSizeBytes, pieceCount }: PieceGeometry): number {
  const wished = Math.max(LEAST_WINDOW_PIECES, Math.floor(WINDOW_BYTES / pieceSizeBytes));
  return Math.min(pieceCount, wished);
}

/** A piece that a member gave. The bytes stay as they are until its reader asks for another one. */
export interface RelayedPiece {
  readonly bytes: Uint8Array;
  readonly sha256: Uint8Array;
  /** Who vouches for it; nobody for a small blob that came along with a coordinator's answer. */
  readonly signer: PeerIdString | undefined;
}

/** Reads the pieces of a blob in order, as members give them. */
export interface RelayReader extends Disposable {
  /**
   * A piece, or `undefined` where no member has it or is about to: then it has to be asked for elsewhere, and nothing
   * is fetched for this reader meanwhile. Earlier pieces are not wanted any more.
   */
  take(piece: PieceIndex, options?: AbortOptions): Promise<RelayedPiece | undefined>;
  /** Whether there is hope of members, for a reader that reads elsewhere. */
  readonly hope: boolean;
}

/** One blob that this machine can't keep, passed from members to its readers, who share what they want at a time. */
export interface Relay extends Disposable {
  readonly readers: number;
  join(): RelayReader;
  /** A member tells of pieces. */
  gained(peer: PeerIdString, pieces: readonly number[]): void;
  memberDown(peer: PeerIdString): void;
}

export interface RelayComponents {
  readonly blob: Attested;
  readonly repository: Repository;
  readonly zones: Zones;
  /** The lines to the coordinators of the site and of this machine's zone. */
  readonly lines: () => { readonly site: Registration; readonly zone: Registration };
  readonly peers: PeerClient;
  /** Memory for a piece. */
  readonly allocate: (lengthBytes: number) => Uint8Array;
  readonly notary: Pick<Notary, "verify">;
  readonly conduct: Pick<Conduct, "trusts" | "distrusted" | "strike">;
  /** sha256 of a piece, where the blob has been verified before. */
  readonly known: (piece: PieceIndex) => Uint8Array | undefined;
  /** A transfer of the blob is under way, and speaks for this machine. */
  readonly isTransferred: () => boolean;
  readonly onBytes: (from: "peers", lengthBytes: number) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** Where a reader is; absent while it reads elsewhere. */
interface Place {
  cursor?: PieceIndex | undefined;
}

export function createRelay(components: RelayComponents): Relay {
  const { blob, zones, conduct, known, clock, random, logger } = components;
  const repository = formatRepository(components.repository);
  const geometry = pieceGeometry(blob.sizeBytes);
  const width = windowPieces(geometry);
  const places = new Set<Place>();
  const held = new Map<PieceIndex, RelayedPiece>();
  const holders = new Set<PeerIdString>();
  const exclusions = createExclusions(conduct.trusts);
  const ended = new AbortController();
  const beganMs = clock.now();
  let pieceMs = beganMs;
  let newsMs = beganMs;
  let bell = Promise.withResolvers<void>();

  const line = createRelayLine({
    blob,
    repository,
    zones,
    ...components.lines(),
    cursors: () => [...places].flatMap(({ cursor }) => (cursor === undefined ? [] : [cursor])),
    excluded: () => [...exclusions.peers.union(new Set(conduct.distrusted()))],
    isTransferred: components.isTransferred,
    onAnswer: hear,
    clock,
    logger,
  });

  const exchange = createExchange({
    digest: blob.digest,
    repository,
    arrival: {
      geometry,
      // Nothing is ever here for others.
      have: createBitfield(geometry.pieceCount),
      taken: (piece) => held.has(piece) || !isWanted(piece),
      sealed: false,
    },
    peers: components.peers,
    allocate: components.allocate,
    clock,
    random,
    logger,
    members: zones.mates,
    trusts: exclusions.takesFrom,
    reach: (source) => (line.reaches(source.peer) ? source : withoutPieces(source)),
    leased: () => false,
    leasing: () => false,
    participants: () => line.participants,
    *cursors() {
      for (const { cursor } of places)
        if (cursor !== undefined)
          for (let piece = cursor; piece < cursor + width; piece++) yield piece;
    },
    onGivenUp: exclude,
    async onPiece(piece, given, peer) {
      components.onBytes("peers", given.bytes.length);
      return await takeIn(piece, given, peer).catch(() => "refused" as const);
    },
  });

  function isWanted(piece: PieceIndex): boolean {
    for (const { cursor } of places)
      if (cursor !== undefined && piece >= cursor && piece < cursor + width) return true;
    return false;
  }

  function ring(): void {
    const rung = bell;
    bell = Promise.withResolvers<void>();
    rung.resolve();
  }

  function exclude(peer: PeerIdString): void {
    exclusions.exclude(peer);
    exchange.forget(peer);
    line.syncSoon();
  }

  function pollutes(peer: PeerIdString): "refused" {
    conduct.strike(peer);
    exclude(peer);
    return "refused";
  }

  async function takeIn(
    piece: PieceIndex,
    { bytes, attestation }: GivenPiece,
    peer: PeerIdString,
  ): Promise<"taken" | "refused"> {
    const promised = await vouchedHash(components.notary, blob, piece, attestation);
    if (promised === undefined || attestation === undefined) return pollutes(peer);
    if (!exclusions.believes(attestation.signer)) return "refused";
    const sha256 = sha256Of(bytes);
    if (Buffer.compare(sha256, promised) !== 0) return pollutes(peer);
    if (Buffer.compare(sha256, known(piece) ?? sha256) !== 0) {
      exclusions.refuse(attestation.signer);
      return "refused";
    }
    hold(piece, { bytes, sha256, signer: attestation.signer });
    return "taken";
  }

  function hold(piece: PieceIndex, given: RelayedPiece): void {
    newsMs = clock.now();
    pieceMs = newsMs;
    if (held.has(piece) || !isWanted(piece)) freeMemory(given.bytes);
    else held.set(piece, given);
    ring();
  }

  function move(place: Place, cursor: PieceIndex | undefined): void {
    if (place.cursor === cursor) return;
    place.cursor = cursor;
    for (const [piece, { bytes }] of held)
      if (!isWanted(piece)) {
        held.delete(piece);
        freeMemory(bytes);
      }
    exchange.wake();
  }

  function hear(answer: Answer | undefined): void {
    if (answer !== undefined) {
      const { reply, from } = answer;
      for (const peer of reply.holders) {
        if (!holders.has(peer)) newsMs = clock.now();
        holders.add(peer);
      }
      const { content } = reply;
      if (content?.length === blob.sizeBytes && exclusions.takesFrom(from))
        hold(0 as PieceIndex, { bytes: content, sha256: sha256Of(content), signer: undefined });
      else exchange.introduce(reply.holders, reply.neighbours);
    }
    ring();
  }

  function isOffered(piece: PieceIndex): boolean {
    return exchange.having(piece).some((peer) => line.reaches(peer));
  }

  /** Whether the piece has to be asked for elsewhere; when members keep silent, by few readers of the site at a time. */
  function isVain(piece: PieceIndex, sinceMs: number): boolean {
    const nowMs = clock.now();
    if (line.hope === undefined) return nowMs - beganMs >= UNANSWERED_MS;
    if (!line.hope && !isOffered(piece)) return true;
    if (nowMs - Math.max(sinceMs, pieceMs) < SILENT_MS) return false;
    return fetchesUnleased(Math.max(line.participants, zones.mates().length + 1), random);
  }

  return {
    get readers() {
      return places.size;
    },
    join() {
      const place: Place = {};
      places.add(place);
      /** When members have kept silent: until there is news, they will again. */
      let silentMs = Number.NEGATIVE_INFINITY;
      let silences = 0;
      return {
        async take(piece, options = {}) {
          const sinceMs = clock.now();
          move(place, piece);
          for (;;) {
            ended.signal.throwIfAborted();
            options.signal?.throwIfAborted();
            const here = held.get(piece);
            if (here !== undefined) return here;
            if (isVain(piece, sinceMs)) break;
            using _watch = clock.schedule(WATCH_MS, ring);
            await raceSignal(bell.promise, options.signal);
          }
          if (line.hope !== false) {
            silentMs = clock.now();
            silences += 1;
          }
          move(place, undefined);
          return undefined;
        },
        get hope() {
          return line.hope === true && newsMs > silentMs && silences < MOST_SILENCES;
        },
        [Symbol.dispose]() {
          move(place, undefined);
          places.delete(place);
        },
      };
    },
    gained(peer, pieces) {
      newsMs = clock.now();
      exchange.gained(peer, pieces);
      ring();
    },
    memberDown(peer) {
      holders.delete(peer);
      exchange.forget(peer);
      line.syncSoon();
    },
    [Symbol.dispose]() {
      if (ended.signal.aborted) return;
      ended.abort(transferEnded());
      line[Symbol.dispose]();
      exchange[Symbol.dispose]();
      for (const { bytes } of held.values()) freeMemory(bytes);
      held.clear();
      ring();
    },
  };
}

function withoutPieces(source: Source): Source {
  const words = new Uint32Array(source.have.words.length);
  return { ...source, have: { words, count: 0, has: () => false } };
}

function sha256Of(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
