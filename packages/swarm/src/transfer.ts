import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import { type Clock, CodedError, hasCode, type Logger } from "@shoal/runtime";
import type { BlobInfo, Ingest, PieceIndex } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { type Arrival, createArrival, type Origin, transferEnded } from "./arrival.ts";
import type { Notary } from "./attestation.ts";
import { createExchange, type Exchange, type GivenPiece } from "./exchange.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { createLessee } from "./lessee.ts";
import { createDispute } from "./dispute.ts";
import type { LedgerLog } from "./ledger-log.ts";
import type { PeerClient } from "./peer-client.ts";
import type { Answer, Registration } from "./registration.ts";
import type { ZonedRegistration } from "./zoned-registration.ts";
import type { PeerIdString } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";

/** A reader that comes back within this time finds its transfer running. Milliseconds. */
const LINGER_MS = 1000;
/** What has arrived is shared this long after the last reader left. Milliseconds. */
const SHARE_MS = 60_000;
const WATCH_MS = 500;
/** Syncs that one event after another asks for are this far apart. Milliseconds. */
const SYNC_GAP_MS = 5;
/** Between two syncs in a dispute. Milliseconds. */
const DISPUTE_SYNC_MS = 100;
/** Without an answer from any coordinator for this long, or without a byte, one fetches without a lease. */
const UNANSWERED_MS = 5000;
const SILENT_MS = 15_000;
/** Without a byte, and with nothing under way, for this long, another coordinator is asked. */
const DOUBT_MS = 5000;
/** With the upstream given up, and not a byte from members. */
const STALLED_MS = 60_000;
/** About so many members of the site fetch without a lease each 500 ms. */
const UNLEASED_FETCHERS = 4;

export interface TransferComponents {
  readonly ingest: Ingest;
  readonly repository: Repository;
  readonly upstream: Pick<Upstream, "blob">;
  /** Whether the site may ask the registry now. */
  readonly mayAsk: () => boolean;
  readonly peers: PeerClient;
  readonly notary: Notary;
  /** Keeps what vouches for the pieces over a restart; absent where members don't get the blob. */
  readonly ledgerLog: LedgerLog | undefined;
  /** The line to the site's coordinators. */
  readonly registration: ZonedRegistration;
  /** Whether a member is in this machine's zone. */
  readonly near: (peer: PeerIdString) => boolean;
  /** A coordinator of this machine's own, for fetching from the upstream alone. */
  readonly alone: Registration;
  /** Whether members may give and get this blob. */
  readonly shared: boolean;
  /** Live members, without this one. */
  readonly members: () => readonly PeerIdString[];
  /** Whether a member is in good enough standing to take pieces from. */
  readonly trusts: (peer: PeerIdString) => boolean;
  readonly distrusted: () => PeerIdString[];
  /** A member gave a piece that is not the blob's. */
  readonly onPolluter: (peer: PeerIdString) => void;
  /** Whether this machine may fetch for others: it has not been given wrong bytes by this registry. */
  readonly mayLease: () => boolean;
  /** Whether the member's word is good enough to show its pieces ahead of the digest. */
  readonly inGoodStanding: (peer: PeerIdString) => boolean;
  /** The blob is verified: who vouched for its pieces, and what members said falsely of them. */
  readonly onVerified: (
    vouching: Iterable<PeerIdString | undefined>,
    falseClaims: Iterable<Attestation>,
  ) => void;
  readonly onBytes: (from: "upstream" | "peers", lengthBytes: number) => void;
  readonly onEnd: () => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** One reader or waiter of a transfer. */
export interface TransferUser extends Disposable {
  /** The piece that the reader is at, to be fetched first. */
  cursor: PieceIndex | undefined;
}

/**
 * The fetching of one blob, from wherever it can be had, until it is verified and in the store.
 * Disposing ends it, keeps what has arrived, and resolves when the ingest is closed.
 */
export interface Transfer extends AsyncDisposable {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly arrival: Arrival;
  readonly state: "arriving" | "winding" | "committed" | "failed";
  /** What ended it, when failed. */
  readonly failure: unknown;
  readonly exchange: Exchange | undefined;
  /** Who vouches for the pieces. */
  readonly ledger: Ledger;
  /** Settles when the blob is committed or cannot be had. */
  readonly finished: Promise<BlobInfo>;
  /** sha256 of a piece that is here. */
  pieceHash(piece: PieceIndex): Uint8Array | undefined;
  /** Whether somebody in good standing, or this machine, has read the piece or holds the verified blob. */
  wellVouched(piece: PieceIndex): boolean;
  join(): TransferUser;
  /** The coordinator has something to say. */
  nudge(): void;
  /** Bytes that are here, waiting for a commit that is under way. */
  read(offset: number, length: number): Promise<Uint8Array | undefined>;
  memberDown(peer: PeerIdString): void;
}

export function createTransfer(components: TransferComponents): Transfer {
  const { ingest, repository, clock, random, logger, onEnd } = components;
  const { digest, sizeBytes, geometry } = ingest;
  const arrival = createArrival(ingest, () => clock.now());
  const ledger = createLedger({ ingest, notary: components.notary, log: components.ledgerLog });
  const users = new Set<TransferUser>();
  const excluded = new Set<PeerIdString>();
  /** Members whose word about this blob's pieces is wrong. */
  const refused = new Set<PeerIdString>();
  const ended = new AbortController();
  const closed = Promise.withResolvers<void>();
  const outcome = Promise.withResolvers<BlobInfo>();
  outcome.promise.catch(() => undefined);

  let state: Transfer["state"] = "arriving";
  let failure: unknown;
  let committing: Promise<void> | undefined;
  /** Members that gave whole blobs that were wrong. */
  const givers = new Set<PeerIdString>();
  let mismatches = 0;
  let settling = false;
  /** The upstream has given this machine wrong bytes: it fetches for nobody, itself included. */
  let misled = false;
  /** Whether what has arrived is worth going on with. */
  let keepArrived = true;
  let fromUpstreamAlone = !components.shared;
  let participants = 1;
  let hopeless = 0;
  let syncing = false;
  let syncAgain = false;
  let syncTimer: Disposable | undefined;
  let watchTimer: Disposable | undefined;
  let leaveTimer: Disposable | undefined;
  let answeredMs = clock.now();
  let lastByteMs = clock.now();
  let doubtedMs = clock.now();

  const lessee = createLessee({
    upstream: components.upstream,
    mayAsk: components.mayAsk,
    repository,
    digest,
    arrival,
    clock,
    logger,
    async onPiece(piece, bytes) {
      if (arrival.taken(piece) || arrival.sealed) return;
      ledger.expect(piece, undefined);
      await store(piece, bytes, "upstream");
    },
    onBytes(lengthBytes) {
      lastByteMs = clock.now();
      components.onBytes("upstream", lengthBytes);
    },
    onChange() {
      exchange?.wake();
      syncSoon();
    },
  });

  const exchange = components.shared
    ? createExchange({
        digest,
        repository: formatRepository(repository),
        arrival,
        peers: components.peers,
        clock,
        random,
        logger,
        trusts: (peer) => !excluded.has(peer) && components.trusts(peer),
        reach: (source) =>
          components.near(source.peer) ? source : components.registration.reach(source),
        leased: (piece) => lessee.bringsSoon(piece),
        leasing: () => lessee.busy,
        participants: () => participants,
        cursors,
        members: () => components.members().filter(components.near),
        onGivenUp(peer) {
          excluded.add(peer);
          syncSoon();
        },
        async onPiece(piece, given, peer) {
          lastByteMs = clock.now();
          components.onBytes("peers", given.bytes.length);
          return await takeFrom(peer, piece, given).catch(() => "taken" as const);
        },
      })
    : undefined;

  const dispute = createDispute({
    ingest,
    ledger,
    notary: components.notary,
    upstream: components.upstream,
    repository,
    digest,
    mayAudit: () =>
      !misled && lessee.standing.mayFetch() && components.mayAsk() && components.mayLease(),
    onBytes(lengthBytes) {
      components.onBytes("upstream", lengthBytes);
    },
    onChange: () => syncSoon(),
    onQuiet: () => components.registration.doubt(),
    signal: ended.signal,
    clock,
    logger,
  });

  function* cursors(): Generator<PieceIndex> {
    for (const { cursor } of users) if (cursor !== undefined) yield cursor;
  }

  /** A piece is taken from a member when somebody vouches for it, and its bytes are what is promised. */
  async function takeFrom(
    peer: PeerIdString,
    piece: PieceIndex,
    { bytes, attestation }: GivenPiece,
  ): Promise<"taken" | "refused"> {
    const sha256 = await ledger.check(piece, attestation);
    if (sha256 === undefined) refuse(peer);
    if (sha256 === undefined || attestation === undefined) return "refused";
    const { signer } = attestation;
    if (refused.has(signer) || !components.trusts(signer)) return "refused";
    if (arrival.taken(piece) || arrival.sealed) return "taken";
    ledger.expect(piece, attestation);
    await store(piece, bytes, peer, sha256);
    return "taken";
  }

  function refuse(peer: PeerIdString): void {
    components.onPolluter(peer);
    excluded.add(peer);
    exchange?.forget(peer);
    components.registration.doubt(peer);
    syncSoon();
  }

  async function store(
    piece: PieceIndex,
    bytes: Uint8Array,
    origin: Origin,
    sha256?: Uint8Array,
  ): Promise<void> {
    try {
      if (!(await arrival.add(piece, bytes, origin, sha256))) return;
    } catch (error) {
      if (hasCode(error, "ERR_PIECE_MISMATCH")) {
        ledger.forget([piece]);
        return refuse(origin as PeerIdString);
      }
      fail(error);
      throw error;
    }
    ledger.stored(piece);
    exchange?.tell(piece, origin === "upstream" || !components.near(origin as PeerIdString));
    if (arrival.have.complete) committing ??= finish();
    else if (components.registration.carried(arrival.have)) syncSoon();
  }

  // -- The line to the coordinator

  function syncSoon(delayMs = 0): void {
    if (state === "committed" || state === "failed") return;
    if (syncing) {
      syncAgain ||= delayMs === 0;
      return;
    }
    syncTimer?.[Symbol.dispose]();
    if (delayMs > 0) syncTimer = clock.schedule(delayMs, () => syncSoon());
    else void sync();
  }

  async function sync(): Promise<void> {
    syncing = true;
    syncAgain = false;
    let nextMs = WATCH_MS;
    try {
      const answer = await register(false);
      if (state === "arriving") nextMs = take(answer);
    } catch (error) {
      if (!ended.signal.aborted) logger.warn({ error, digest }, "a registration failed");
    } finally {
      syncing = false;
    }
    if (state === "arriving" && committing === undefined)
      syncSoon(syncAgain ? SYNC_GAP_MS : nextMs);
  }

  async function register(leaving: boolean): Promise<Answer | undefined> {
    const { canFetch, wants, leases } = lessee.request();
    const line = fromUpstreamAlone ? components.alone : components.registration;
    const mayLease = fromUpstreamAlone || (components.mayLease() && !misled);
    const disputed = fromUpstreamAlone || leaving ? undefined : dispute.report();
    return await line.sync(
      {
        digest,
        size: sizeBytes,
        repository: formatRepository(repository),
        canFetch: canFetch && mayLease,
        wants: wants && mayLease && !leaving,
        cursors: [...cursors()].slice(0, 8),
        have: arrival.have.toBytes(),
        leases: leases.map(({ id, epoch, first, end, doneBytes }) => ({
          id,
          epoch,
          first,
          end,
          done: doneBytes,
        })),
        excluded: [...new Set([...excluded, ...components.distrusted()])],
        leaving,
        ...(disputed === undefined ? {} : { dispute: disputed }),
      },
      leaving ? undefined : ended.signal,
    );
  }

  /** @returns milliseconds until the next sync */
  function take(answer: Answer | undefined): number {
    if (answer === undefined) {
      giveUpIfHopeless(false);
      return WATCH_MS;
    }
    const { reply, from } = answer;
    // Until then nothing is to be heard.
    answeredMs = clock.now() + reply.retryMs;
    participants = reply.participants;
    lessee.apply(reply.leases);
    const content = reply.content;
    if (content?.length === sizeBytes && !excluded.has(from) && arrival.have.count === 0) {
      components.onBytes("peers", content.length);
      void store(0 as PieceIndex, content, from).catch(() => undefined);
    } else if (!fromUpstreamAlone) exchange?.introduce(reply.holders, reply.neighbours);
    if (reply.audit !== undefined || dispute.disputing)
      void dispute.hear(from, reply.audit, (wrong) => void settle(wrong)).catch(fail);
    if (dispute.disputing) return DISPUTE_SYNC_MS;
    giveUpIfHopeless(reply.hope);
    return hopeless > 0 ? 100 : reply.retryMs;
  }

  function giveUpIfHopeless(hope: boolean): void {
    const trying = lessee.busy || !lessee.standing.over || (exchange?.outstanding ?? 0) > 0;
    hopeless = hope || trying || committing !== undefined ? 0 : hopeless + 1;
    const alone = fromUpstreamAlone || components.members().length === 0;
    if (hopeless >= (alone ? 1 : 2)) fail(lessee.standing.lastError);
  }

  /** Sees to it that no coordinator, and no silence of members, can keep the blob from coming. */
  function watch(): void {
    watchTimer = clock.schedule(WATCH_MS, watch);
    if (state !== "arriving" || committing !== undefined) return;
    if (dispute.disputing) {
      if (dispute.hopeless) void goAlone(undefined).catch(fail);
      return;
    }
    const nowMs = clock.now();
    const silentMs = nowMs - Math.max(lastByteMs, arrival.lastPieceMs);
    if (lessee.standing.over && silentMs > STALLED_MS) {
      fail(lessee.standing.lastError);
      return;
    }
    const idle = !lessee.busy && (exchange?.outstanding ?? 0) === 0;
    if (idle && silentMs > DOUBT_MS && nowMs - doubtedMs > DOUBT_MS && lessee.standing.mayFetch()) {
      doubtedMs = nowMs;
      components.registration.doubt();
      syncSoon();
    }
    if (misled && !fromUpstreamAlone && silentMs > SILENT_MS) {
      // Nobody else brings the blob: what its own registry says is the last that can be tried.
      void goAlone(undefined).catch(fail);
      return;
    }
    if (nowMs - answeredMs < UNANSWERED_MS && silentMs < SILENT_MS) return;
    if (lessee.busy || misled || !lessee.standing.mayFetch()) return;
    const crowd = Math.max(participants, components.members().length + 1);
    if (random() >= UNLEASED_FETCHERS / crowd) return;
    const missing = [...Array(geometry.pieceCount).keys()].filter(
      (piece) => !arrival.taken(piece as PieceIndex),
    );
    const piece = missing[Math.floor(random() * missing.length)];
    if (piece !== undefined) lessee.fetchUnleased(piece as PieceIndex);
  }

  // -- The end

  async function finish(): Promise<void> {
    const falseClaims = dispute.falseClaims();
    const vouching = signers();
    arrival.seal(true);
    try {
      const info = await ingest.commit();
      components.onVerified(vouching, falseClaims.values());
      for (const peer of givers) if (!falseClaims.has(peer)) components.onPolluter(peer);
      state = "committed";
      outcome.resolve(info);
      void shutDown();
    } catch (error) {
      if (hasCode(error, "ERR_DIGEST_MISMATCH")) await mismatched(error);
      else fail(error);
    }
  }

  /** Who vouches for pieces that are here; `undefined` stands for pieces that nobody does. */
  function signers(): Set<PeerIdString | undefined> {
    return new Set([...arrival.have].map((piece) => ledger.signer(piece)));
  }

  /** The bytes are not the blob's. Once, the members find out together whose are wrong. */
  async function mismatched(error: unknown): Promise<void> {
    mismatches += 1;
    const vouching = signers();
    const others = vouching.difference(new Set([components.notary.self]));
    await dispute.remember(arrival.have);
    const together = !fromUpstreamAlone && mismatches === 1 && components.members().length > 0;
    if (!together || others.size === 0 || vouching.has(undefined)) return await goAlone(error);
    logger.warn({ digest }, "pieces do not make up the blob; the members find out whose are wrong");
    dispute.begin();
    committing = undefined;
    syncSoon();
  }

  /** Members are shown to be wrong about pieces that are here: all of theirs are fetched again. */
  async function settle(found: ReadonlySet<PeerIdString>): Promise<void> {
    if (settling || committing !== undefined || state !== "arriving") return;
    settling = true;
    const { self } = components.notary;
    // Whom it has mistrusted on its own word alone may have been right all along.
    const wrong = found.has(self) ? new Set([self]) : found;
    if (found.has(self)) distrustSelf();
    try {
      arrival.seal(true);
      const dropped = [...arrival.have].filter((piece) => wrong.has(ledger.signer(piece)!));
      await dispute.remember(dropped);
      exclude([...wrong].filter((peer) => peer !== self));
      await arrival.drop(dropped);
      ledger.forget(dropped);
      dispute.end();
      arrival.seal(false);
      for (const piece of dropped) {
        const bytes = dispute.takeRead(piece);
        if (bytes === undefined) continue;
        ledger.expect(piece, undefined);
        await store(piece, bytes, "upstream");
      }
      logger.warn({ digest, peers: [...wrong] }, "members vouched for wrong pieces");
    } finally {
      settling = false;
    }
    exchange?.refresh();
    goOn();
  }

  function distrustSelf(): void {
    misled = true;
    dispute.distrustSelf();
    for (const peer of refused) excluded.delete(peer);
    refused.clear();
  }

  function exclude(peers: Iterable<PeerIdString>): void {
    for (const peer of peers) {
      refused.add(peer);
      excluded.add(peer);
      exchange?.forget(peer);
    }
  }

  function goOn(): void {
    arrival.ring();
    exchange?.wake();
    syncSoon();
  }

  /** What did not come from the upstream is fetched again, from there, by this machine alone. */
  async function goAlone(error: unknown): Promise<void> {
    dispute.end();
    // Sealed until the members are excluded: they would fill the gaps again.
    arrival.seal(true);
    const dropped = [...arrival.have].filter((piece) => arrival.origin(piece) !== "upstream");
    if (dropped.length === 0) {
      keepArrived = false;
      fail(upstreamMismatch(digest, repository, error));
      return;
    }
    await dispute.remember(dropped);
    for (const piece of dropped) {
      const origin = arrival.origin(piece)!;
      const signer = ledger.signer(piece);
      // Nobody vouched for it, so its giver answers for it.
      if (signer === undefined && origin !== "store") givers.add(origin as PeerIdString);
      exclude([signer ?? origin, origin].filter((peer) => peer !== "store") as PeerIdString[]);
    }
    await arrival.drop(dropped);
    ledger.forget(dropped);
    arrival.seal(false);
    logger.warn(
      { digest, peers: [...excluded] },
      "pieces that members gave do not make up the blob; they are fetched again",
    );
    if (!lessee.standing.over) {
      fromUpstreamAlone = true;
      exchange?.stop();
    }
    committing = undefined;
    goOn();
  }

  function fail(error: unknown): void {
    if (state === "committed" || state === "failed") return;
    state = "failed";
    failure = error ?? transferEnded();
    outcome.reject(failure);
    logger.info({ error: failure, digest }, "a blob could not be had");
    void shutDown();
  }

  /** Everything that works for this transfer stops; its coordinator hears that it is over. */
  async function shutDown(): Promise<void> {
    syncTimer?.[Symbol.dispose]();
    watchTimer?.[Symbol.dispose]();
    leaveTimer?.[Symbol.dispose]();
    exchange?.flush();
    exchange?.[Symbol.dispose]();
    ended.abort(transferEnded());
    arrival.ring();
    leave();
    await lessee[Symbol.asyncDispose]();
    await (keepArrived ? ingest[Symbol.asyncDispose]() : ingest.discard());
    await components.ledgerLog?.close(state === "committed" || !keepArrived);
    onEnd();
    closed.resolve();
  }

  function leave(): void {
    register(true).catch((error: unknown) => logger.debug({ error }, "a leave did not arrive"));
  }

  function leaveSoon(): void {
    if (state !== "arriving" || users.size > 0) return;
    leaveTimer?.[Symbol.dispose]();
    leaveTimer = clock.schedule(LINGER_MS, () => {
      if (state !== "arriving" || users.size > 0 || committing !== undefined) return;
      state = "winding";
      lessee.wind();
      exchange?.stop();
      leave();
      leaveTimer = clock.schedule(SHARE_MS, () => fail(transferEnded()));
    });
  }

  if (arrival.have.complete) committing = finish();
  else syncSoon();
  watchTimer = clock.schedule(WATCH_MS, watch);

  return {
    digest,
    sizeBytes,
    arrival,
    get state() {
      return state;
    },
    get failure() {
      return failure;
    },
    exchange,
    ledger,
    finished: outcome.promise,
    pieceHash: (piece) => ingest.pieceHash(piece),
    wellVouched(piece) {
      const signer = ledger.signer(piece);
      return signer !== undefined && components.inGoodStanding(signer);
    },
    join() {
      const user: TransferUser = {
        cursor: undefined,
        [Symbol.dispose]() {
          if (users.delete(user)) leaveSoon();
        },
      };
      users.add(user);
      return user;
    },
    nudge: () => syncSoon(),
    async read(offset, length) {
      const bytes = await arrival.read(offset, length);
      if (bytes === undefined && committing !== undefined) await committing;
      return bytes;
    },
    memberDown(peer) {
      exchange?.forget(peer);
      syncSoon();
    },
    async [Symbol.asyncDispose]() {
      fail(transferEnded());
      await closed.promise;
    },
  };
}

function upstreamMismatch(
  digest: Digest,
  repository: Repository,
  cause: unknown,
): CodedError<"ERR_DIGEST_MISMATCH"> {
  return new CodedError(
    "ERR_DIGEST_MISMATCH",
    `${repository.registry} sent bytes that are not ${digest}; if a proxy stands between, look there, else push the image again`,
    { cause, details: { digest } },
  );
}
