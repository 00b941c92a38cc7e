import type { Digest } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import { bitfieldFromBytes, type PieceIndex, pieceLength, pieceOffset } from "@shoal/store";
import type { Arrival } from "./arrival.ts";
import { createNeighbours, MAX_NEIGHBOURS } from "./neighbours.ts";
import { createNews } from "./news.ts";
import type { PeerClient } from "./peer-client.ts";
import { leastLoaded, pick, type Source } from "./picker.ts";
import type { PeerIdString } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";

/** Piece requests under way, over all neighbours. */
const MAX_OUTSTANDING = 24;
const LEAST_OUTSTANDING = 4;
/** Neighbours that are sought: those that the coordinator names, and some of this member's own choice. */
const SOUGHT = 20;
const OWN_CHOICE = 3;
/** A member that did not want to exchange is not asked again for this long. Milliseconds. */
const REFUSED_MS = 30_000;
const BLOCK_BYTES = 1024 * 1024;
const TICK_MS = 250;
/** A piece request that is older than this, and than three usual ones, is doubled. Milliseconds. */
const STRAGGLER_MS = 1000;
/** A block's deadline: its first byte in 5 s, then at least 64 KiB/s. */
const BLOCK_TIMEOUT_MS = 5000;
const SLOWEST_BYTES_PER_MS = 64;

export interface ExchangeComponents {
  readonly digest: Digest;
  /** Named in every request. */
  readonly repository: string;
  readonly arrival: Pick<Arrival, "geometry" | "have" | "taken" | "sealed">;
  readonly peers: PeerClient;
  /** Memory for a piece that comes in more than one block. */
  readonly allocate: (lengthBytes: number) => Uint8Array;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** Everybody in the site: some neighbours are chosen here, so that no coordinator can keep others away. */
  readonly members: () => readonly PeerIdString[];
  /** Whether a member's pieces are wanted. */
  readonly trusts: (peer: PeerIdString) => boolean;
  /** Whether the piece is expected from the upstream by this machine's own lease. */
  readonly leased: (piece: PieceIndex) => boolean;
  /** The pieces of a member that may be asked for: of other zones' members only some. */
  readonly reach: (source: Source) => Source;
  /** Whether this machine fetches from the upstream, and how many may, as the coordinator last knew. */
  readonly leasing: () => boolean;
  readonly participants: () => number;
  /** Pieces that readers are at. */
  readonly cursors: () => Iterable<PieceIndex>;
  /** A member has failed to deliver so often that it is not asked for this blob any more. */
  readonly onGivenUp: (peer: PeerIdString) => void;
  /** Called with each whole piece; the bytes are the callee's. */
  readonly onPiece: (
    piece: PieceIndex,
    given: GivenPiece,
    peer: PeerIdString,
  ) => Promise<"taken" | "refused">;
}

/** Trades the pieces of one blob with its neighbours. */
export interface Exchange extends Disposable {
  /** Takes in those whom the coordinator named. */
  introduce(holders: readonly PeerIdString[], neighbours: readonly PeerIdString[]): void;
  /** A member asks to exchange. @returns whether its bitfield fits and it is welcome */
  interested(peer: PeerIdString, have: Uint8Array): boolean;
  gained(peer: PeerIdString, pieces: readonly number[]): void;
  forget(peer: PeerIdString): void;
  /** A piece has come, from the upstream or another zone (`brought`) or from members: neighbours are told of it. */
  tell(piece: PieceIndex, brought: boolean): void;
  /** A piece that was expected from elsewhere is wanted after all. */
  wake(): void;
  /** Members known to have the piece. */
  having(piece: PieceIndex): readonly PeerIdString[];
  readonly outstanding: number;
  /** Stops fetching; what is here can still be told of. */
  stop(): void;
  /** Tells neighbours of all that has arrived, at once. */
  flush(): void;
  /** Pieces were taken back: neighbours are told what is left, and asked what they have. */
  refresh(): void;
}

/** A piece as a member gave it, with what it says of it. */
export interface GivenPiece {
  readonly bytes: Uint8Array;
  readonly attestation: Attestation | undefined;
}

interface Fetch {
  readonly piece: PieceIndex;
  readonly peer: PeerIdString;
  readonly startedMs: number;
  readonly controller: AbortController;
}

export function createExchange(components: ExchangeComponents): Exchange {
  const { digest, repository, arrival, peers, clock, random, logger, trusts } = components;
  const { geometry } = arrival;
  const blob = { digest, size: geometry.sizeBytes, repository };
  const neighbours = createNeighbours(geometry);
  const fetches = new Set<Fetch>();
  const meeting = new Set<PeerIdString>();
  /** Members that the coordinator took for holders, those known as nothing else, and of these who lacked a piece. */
  const named = new Set<PeerIdString>();
  const believed = new Set<PeerIdString>();
  const lacking = new Set<PeerIdString>();
  const pendingCount = new Uint8Array(geometry.pieceCount);
  const refusedMs = new Map<PeerIdString, number>();
  const news = createNews({
    clock,
    pieceCount: geometry.pieceCount,
    missing: () => geometry.pieceCount - arrival.have.count,
    mesh: () => neighbours.subscribers >= components.participants() - 1,
    subscribers: () => neighbours.subscribers,
    audience: neighbours.audience,
    send: sendNews,
  });
  let ticker: Disposable | undefined = clock.schedule(TICK_MS, tick);
  let stopped = false;

  function pending(piece: PieceIndex): boolean {
    return pendingCount[piece]! > 0 || arrival.taken(piece) || components.leased(piece);
  }

  function sources(): Source[] {
    return neighbours.sources(clock.now()).map(components.reach);
  }

  /**
   * A lease is one flow on this machine's link, beside those from members: as many as there are other lessees
   * leave it what it may have of an uplink as fast as the link.
   */
  function room(): number {
    if (!components.leasing()) return MAX_OUTSTANDING;
    const lessees = Math.max(components.participants(), neighbours.size + 1);
    return Math.max(LEAST_OUTSTANDING, Math.min(MAX_OUTSTANDING, lessees - 1));
  }

  function pump(): void {
    while (!stopped && !arrival.sealed && fetches.size < room()) {
      const choice = pick(
        {
          pieceCount: geometry.pieceCount,
          have: arrival.have,
          pending,
          availability: neighbours.availability,
          cursors: components.cursors(),
          sources: sources(),
        },
        random,
      );
      if (choice === undefined) break;
      start(choice.piece, choice.peer);
    }
    if (fetches.size === 0 && !arrival.have.complete) giveUpLacking();
  }

  /** While the coordinator believes that they have every piece, nobody would be asked to fetch what they lack. */
  function giveUpLacking(): void {
    for (const peer of lacking) {
      neighbours.forget(peer);
      components.onGivenUp(peer);
    }
    lacking.clear();
  }

  function start(piece: PieceIndex, peer: PeerIdString): void {
    const fetch = { piece, peer, startedMs: clock.now(), controller: new AbortController() };
    fetches.add(fetch);
    pendingCount[piece]! += 1;
    neighbours.requested(peer);
    void run(fetch).finally(() => {
      fetches.delete(fetch);
      pendingCount[piece]! -= 1;
      pump();
    });
  }

  async function run(fetch: Fetch): Promise<void> {
    const { piece, peer, controller } = fetch;
    let given: GivenPiece | undefined;
    try {
      given = await fetchPiece(fetch);
    } catch (error) {
      const cancelled = controller.signal.aborted;
      if (neighbours.answered(peer, cancelled ? "cancelled" : "failed", clock.now()))
        components.onGivenUp(peer);
      if (!cancelled) logger.debug({ error, peer, digest }, "a member did not deliver a piece");
      return;
    }
    if (given === undefined) return;
    neighbours.answered(peer, { tookMs: clock.now() - fetch.startedMs }, clock.now());
    for (const other of fetches)
      if (other !== fetch && other.piece === piece) other.controller.abort();
    // Until it tells of another, this peer's piece is of no use.
    if ((await components.onPiece(piece, given, peer)) === "refused") neighbours.lacks(peer, piece);
  }

  /** @returns the piece, or `undefined` when the peer has none for now */
  async function fetchPiece({ piece, peer, controller }: Fetch): Promise<GivenPiece | undefined> {
    const length = pieceLength(geometry, piece);
    const start = pieceOffset(geometry, piece);
    let whole: Uint8Array | undefined;
    let attestation: Attestation | undefined;
    for (let done = 0; done < length; done += BLOCK_BYTES) {
      const wanted = Math.min(BLOCK_BYTES, length - done);
      const { head, bytes } = await peers.block(
        peer,
        { type: "block", ...blob, offset: start + done, length: wanted },
        {
          signal: controller.signal,
          timeoutMs: BLOCK_TIMEOUT_MS + length / SLOWEST_BYTES_PER_MS,
        },
      );
      if (head.status !== "ok") {
        neighbours.answered(peer, head.status, clock.now());
        if (head.status === "missing") {
          neighbours.lacks(peer, piece);
          if (believed.has(peer)) lacking.add(peer);
        }
        for (const other of head.alternatives) if (neighbours.size < SOUGHT) void meet(other);
        return undefined;
      }
      if (bytes.length !== wanted) throw new RangeError("a block of the wrong length");
      // Taken back and fetched anew between two blocks: neither version is whole.
      if (done > 0 && !sameAttestation(attestation, head.attestation)) return undefined;
      attestation = head.attestation;
      if (length <= BLOCK_BYTES) return { bytes, attestation };
      whole ??= components.allocate(length);
      whole.set(bytes, done);
    }
    return whole && { bytes: whole, attestation };
  }

  /** Doubles requests that take much longer than others do, while there is room. */
  function tick(): void {
    ticker = stopped ? undefined : clock.schedule(TICK_MS, tick);
    pump();
    const patienceMs = Math.max(STRAGGLER_MS, 3 * neighbours.usualMs);
    for (const fetch of Array.from(fetches)) {
      if (stopped || fetches.size >= MAX_OUTSTANDING) return;
      if (clock.now() - fetch.startedMs < patienceMs || pendingCount[fetch.piece]! > 1) continue;
      neighbours.lags(fetch.peer);
      const others = sources().filter(({ peer }) => peer !== fetch.peer);
      const peer = leastLoaded(others, fetch.piece, random);
      if (peer !== undefined) start(fetch.piece, peer);
    }
  }

  function introduce(holders: readonly PeerIdString[], others: readonly PeerIdString[]): void {
    if (stopped) return;
    for (const peer of holders)
      if (!named.has(peer) && trusts(peer)) {
        named.add(peer);
        if (!neighbours.has(peer)) believed.add(peer);
        neighbours.learn(peer, "all", false);
        peers.prepare(peer);
      }
    for (const peer of others) if (neighbours.size + meeting.size < SOUGHT) void meet(peer);
    const own = Array.from(components.members());
    for (let left = OWN_CHOICE; left > 0 && own.length > 0; left--)
      if (neighbours.size + meeting.size < SOUGHT + OWN_CHOICE)
        void meet(own[Math.floor(random() * own.length)]!);
    pump();
  }

  async function meet(peer: PeerIdString, again = false): Promise<void> {
    const refused = refusedMs.get(peer) ?? Number.NEGATIVE_INFINITY;
    if ((neighbours.has(peer) && !again) || meeting.has(peer) || !trusts(peer)) return;
    if (clock.now() - refused < REFUSED_MS) return;
    if (neighbours.subscribers + meeting.size >= MAX_NEIGHBOURS) return;
    meeting.add(peer);
    peers.prepare(peer);
    try {
      const told = bitfieldFromBytes(geometry.pieceCount, arrival.have.toBytes());
      const have = arrival.have.toBytes();
      const reply = await peers.ask(peer, { type: "interest", ...blob, have });
      if (again ? trusts(peer) : !neighbours.has(peer)) neighbours.learn(peer, reply.have, true);
      // What arrived while the question was under way is in nobody's news.
      const since = [...arrival.have].filter((piece) => told?.has(piece) === false);
      if (since.length > 0) sendNews(peer, since);
      pump();
    } catch (error) {
      refusedMs.set(peer, clock.now());
      logger.debug({ error, peer, digest }, "a member does not exchange this blob");
    } finally {
      meeting.delete(peer);
    }
  }

  function sendNews(peer: PeerIdString, pieces: readonly PieceIndex[]): void {
    peers
      .ask(peer, { type: "have", ...blob, pieces: [...pieces] })
      .catch((error: unknown) => logger.debug({ error, peer }, "news did not arrive"));
  }

  return {
    introduce,
    interested(peer, have) {
      // Who has been asked keeps its place: else it would tell news here and hear none.
      const expected = neighbours.has(peer) || meeting.has(peer);
      if (!expected && neighbours.subscribers + meeting.size >= MAX_NEIGHBOURS) return false;
      if (!trusts(peer) || !neighbours.learn(peer, have, true)) return false;
      pump();
      return true;
    },
    gained(peer, pieces) {
      if (neighbours.gained(peer, pieces)) pump();
    },
    forget(peer) {
      named.delete(peer);
      believed.delete(peer);
      neighbours.forget(peer);
      for (const fetch of fetches) if (fetch.peer === peer) fetch.controller.abort();
    },
    tell: (piece, brought) => news.add(piece, brought),
    wake: pump,
    having: (piece) => neighbours.having(piece),
    get outstanding() {
      return fetches.size;
    },
    stop() {
      stopped = true;
      for (const fetch of fetches) fetch.controller.abort();
    },
    flush: news.flush,
    refresh() {
      for (const peer of neighbours.listeners()) void meet(peer, true);
    },
    [Symbol.dispose]() {
      stopped = true;
      ticker?.[Symbol.dispose]();
      news[Symbol.dispose]();
      for (const fetch of fetches) fetch.controller.abort();
    },
  };
}

function sameAttestation(a: Attestation | undefined, b: Attestation | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a.hashes, b.hashes) === 0;
}
