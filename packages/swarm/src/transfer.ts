import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import { type Clock, hasCode, type Logger } from "@shoal/runtime";
import type { BlobInfo, Ingest, PieceIndex } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { type Arrival, createArrival, transferEnded } from "./arrival.ts";
import type { Notary } from "./attestation.ts";
import { createDispute } from "./dispute.ts";
import { createExchange, type Exchange } from "./exchange.ts";
import { createExclusions } from "./exclusions.ts";
import type { LedgerLog } from "./ledger-log.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { createLessee } from "./lessee.ts";
import type { PeerClient } from "./peer-client.ts";
import { createPieceIntake } from "./piece-intake.ts";
import type { Registration } from "./registration.ts";
import { createSettlement } from "./settlement.ts";
import { createSyncLine } from "./sync-line.ts";
import { createTransferLife, type TransferState } from "./transfer-life.ts";
import { createTransferUsers, type TransferUser } from "./transfer-users.ts";
import { createTransferWatch } from "./transfer-watch.ts";
import type { PeerIdString } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";
import type { ZonedRegistration } from "./zoned-registration.ts";

export interface TransferComponents {
  readonly ingest: Ingest;
  readonly repository: Repository;
  readonly upstream: Pick<Upstream, "blob" | "confirm" | "reject">;
  /** Whether the site may ask the registry now. */
  readonly mayAsk: () => boolean;
  readonly peers: PeerClient;
  /** Memory for a piece that comes from members. */
  readonly allocate: (lengthBytes: number) => Uint8Array;
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

/**
 * The fetching of one blob, from wherever it can be had, until it is verified and in the store.
 * Disposing ends it, keeps what has arrived, and resolves when the ingest is closed.
 */
export interface Transfer extends AsyncDisposable {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly arrival: Arrival;
  readonly state: TransferState;
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
  const { ingest, repository, upstream, notary, registration, near, members } = components;
  const { mayAsk, mayLease, distrusted, clock, random, logger } = components;
  const { digest, sizeBytes } = ingest;
  const ended = new AbortController();
  const closed = Promise.withResolvers<void>();
  const life = createTransferLife((failure) => {
    if (life.state === "failed") logger.info({ error: failure, digest }, "a blob could not be had");
    void shutDown();
  });
  const users = createTransferUsers({ life, onDeserted: wind, clock });
  const arrival = createArrival(ingest, () => clock.now());
  const ledger = createLedger({ ingest, notary, log: components.ledgerLog });
  const exclusions = createExclusions(components.trusts);
  const intake = createPieceIntake({
    arrival,
    ledger,
    exclusions,
    onStored(piece, origin) {
      exchange?.tell(piece, origin === "upstream" || !near(origin as PeerIdString));
      if (arrival.have.complete) life.commit(finish);
      else if (registration.carried(arrival.have)) line.syncSoon();
    },
    onPolluter(peer) {
      components.onPolluter(peer);
      exclusions.exclude(peer);
      exchange?.forget(peer);
      registration.doubt(peer);
      line.syncSoon();
    },
    onFailure: (error) => life.fail(error),
  });

  const lessee = createLessee({
    upstream,
    mayAsk,
    repository,
    digest,
    arrival,
    clock,
    logger,
    onPiece: async (piece, bytes) => await intake.fromUpstream(piece, bytes),
    onBytes(lengthBytes) {
      watch.heard();
      components.onBytes("upstream", lengthBytes);
    },
    onChange() {
      exchange?.wake();
      line.syncSoon();
    },
  });

  const exchange = components.shared
    ? createExchange({
        digest,
        repository: formatRepository(repository),
        arrival,
        peers: components.peers,
        allocate: components.allocate,
        clock,
        random,
        logger,
        trusts: exclusions.takesFrom,
        reach: (source) => (near(source.peer) ? source : registration.reach(source)),
        leased: (piece) => lessee.bringsSoon(piece),
        leasing: () => lessee.busy,
        participants: () => line.participants,
        cursors: users.cursors,
        members: () => members().filter(near),
        onGivenUp(peer) {
          exclusions.exclude(peer);
          line.syncSoon();
        },
        async onPiece(piece, given, peer) {
          watch.heard();
          components.onBytes("peers", given.bytes.length);
          return await intake.fromPeer(piece, given, peer).catch(() => "taken" as const);
        },
      })
    : undefined;

  const dispute = createDispute({
    ingest,
    ledger,
    notary,
    upstream,
    repository,
    digest,
    mayAudit: () => !settlement.misled && lessee.standing.mayFetch() && mayAsk() && mayLease(),
    onBytes: (lengthBytes) => components.onBytes("upstream", lengthBytes),
    onChange: () => line.syncSoon(),
    onQuiet: () => registration.doubt(),
    signal: ended.signal,
    clock,
    logger,
  });

  const settlement = createSettlement({
    digest,
    repository,
    upstream,
    self: notary.self,
    shared: components.shared,
    life,
    arrival,
    ledger,
    intake,
    exchange,
    exclusions,
    dispute,
    standing: lessee.standing,
    members,
    onChange: () => line.syncSoon(),
    logger,
  });

  const line = createSyncLine({
    digest,
    sizeBytes,
    repository,
    life,
    arrival,
    lessee,
    exchange,
    exclusions,
    dispute,
    settlement,
    cursors: users.cursors,
    registration,
    alone: components.alone,
    members,
    distrusted,
    mayLease,
    onContent(content, from) {
      components.onBytes("peers", content.length);
      void intake.fromAnswer(content, from).catch(() => undefined);
    },
    signal: ended.signal,
    clock,
    logger,
  });

  const watch = createTransferWatch({
    life,
    arrival,
    lessee,
    exchange,
    dispute,
    settlement,
    line,
    registration,
    members,
    clock,
    random,
  });

  async function finish(): Promise<void> {
    const falseClaims = dispute.falseClaims();
    const vouching = settlement.signers();
    arrival.seal(true);
    try {
      const info = await ingest.commit();
      upstream.confirm(repository, digest);
      components.onVerified(vouching, falseClaims.values());
      for (const peer of settlement.givers) if (!falseClaims.has(peer)) components.onPolluter(peer);
      life.succeed(info);
    } catch (error) {
      if (hasCode(error, "ERR_DIGEST_MISMATCH")) await settlement.mismatched(error);
      else life.fail(error);
    }
  }

  /** Nobody waits for the blob: what is here can still be given to members. */
  function wind(): void {
    lessee.wind();
    exchange?.stop();
    line.leave();
  }

  /** Everything that works for this transfer stops; its coordinator hears that it is over. */
  async function shutDown(): Promise<void> {
    line[Symbol.dispose]();
    watch[Symbol.dispose]();
    users[Symbol.dispose]();
    exchange?.flush();
    exchange?.[Symbol.dispose]();
    ended.abort(transferEnded());
    arrival.ring();
    line.leave();
    await lessee[Symbol.asyncDispose]();
    await (settlement.keepsArrived ? ingest[Symbol.asyncDispose]() : ingest.discard());
    await components.ledgerLog?.close(life.state === "committed" || !settlement.keepsArrived);
    components.onEnd();
    closed.resolve();
  }

  if (arrival.have.complete) life.commit(finish);
  else line.syncSoon();

  return {
    digest,
    sizeBytes,
    arrival,
    get state() {
      return life.state;
    },
    get failure() {
      return life.failure;
    },
    exchange,
    ledger,
    finished: life.finished,
    pieceHash: (piece) => ingest.pieceHash(piece),
    wellVouched(piece) {
      const signer = ledger.signer(piece);
      return signer !== undefined && components.inGoodStanding(signer);
    },
    join: users.join,
    nudge: line.syncSoon,
    async read(offset, length) {
      const bytes = await arrival.read(offset, length);
      if (bytes === undefined && life.committing !== undefined) await life.committing;
      return bytes;
    },
    memberDown(peer) {
      exchange?.forget(peer);
      line.syncSoon();
    },
    async [Symbol.asyncDispose]() {
      // A commit that is under way would go on in a store that may be closed by then.
      await life.committing;
      life.fail(transferEnded());
      await closed.promise;
    },
  };
}
