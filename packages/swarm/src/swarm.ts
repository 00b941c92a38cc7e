import {
  type Digest,
  digestAlgorithm,
  digestOf,
  type RegistryHost,
  type Repository,
} from "@shoal/oci";
import {
  type AbortOptions,
  type AuditLog,
  type Clock,
  CodedError,
  createCoalescer,
  hasCode,
  type Logger,
  type MetricsRegister,
  noAuditLog,
} from "@shoal/runtime";
import { type Ingest, pieceAt, type Store } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { createNotary } from "./attestation.ts";
import { transferEnded } from "./arrival.ts";
import { createAnnouncer } from "./announcer.ts";
import { createAnswering } from "./answering.ts";
import { createAudits } from "./audits.ts";
import { loadConduct } from "./conduct.ts";
import { createDirectory } from "./directory.ts";
import { createHoldings } from "./holdings.ts";
import { createKeepers } from "./keepers.ts";
import { type LedgerLog, openLedgerLog, sweepLedgers } from "./ledger-log.ts";
import { createManifests } from "./manifests.ts";
import { createSwarmMetrics } from "./metrics.ts";
import { arrivingBlob, committedBlob, isStoreFailure, unstoredBlob } from "./open-blob.ts";
import { loadOrigins, type Privacy } from "./origins.ts";
import { createPeerClient } from "./peer-client.ts";
import { ensurePossession } from "./possession.ts";
import { createProofs } from "./proofs.ts";
import { createRegistration } from "./registration.ts";
import { createResolutions } from "./resolutions.ts";
import { createResolver, resolverDefaults, type ResolverSettings } from "./resolver.ts";
import { loadSharing } from "./sharing.ts";
import { createSiteRecords } from "./site-records.ts";
import { lookUpSize } from "./size-lookup.ts";
import { createSoloTransport } from "./solo.ts";
import { createTransfer, type Transfer } from "./transfer.ts";
import type { PeerTransport } from "./transport.ts";
import type { BlobRequest, OpenBlob, Swarm } from "./types.ts";
import { createWariness } from "./wariness.ts";
import { createZonedRegistration } from "./zoned-registration.ts";
import { createZones } from "./zones.ts";
import { createUnstored } from "./unstored.ts";
import { createUplink } from "./uplink/uplink.ts";
import { createUploads } from "./uploads.ts";
import type { UplinkLimits } from "./wire/messages.ts";

export interface SwarmComponents {
  /** The way to the other members. @default none: this machine is alone */
  readonly transport?: PeerTransport;
  readonly store: Store;
  readonly upstream: Upstream;
  readonly clock: Clock;
  /** Floats in [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: MetricsRegister;
  /** @default nowhere */
  readonly auditLog?: AuditLog;
}

export interface SwarmInit {
  /** Whether members may exchange what they pull from a repository. @default all */
  readonly mayShare?: (repository: Repository) => boolean;
  /** Which repositories are not everybody's. @default none */
  readonly privacy?: Privacy;
  readonly resolve?: Partial<ResolverSettings>;
  /** Whether a registry is read over TLS. @default all */
  readonly overTls?: (registry: RegistryHost) => boolean;
  /** Limits of the site that this member was configured with; of several members' the lowest. @default none */
  readonly uplink?: UplinkLimits;
  /** What this machine sends to members, in bytes per second. @default no limit */
  readonly uploadBytesPerSecond?: number;
  /** Memory for a piece that comes from members. @default the process's own */
  readonly allocate?: (lengthBytes: number) => Uint8Array;
}

/** Creates the engine. It does not own its components: they are disposed after it. */
export async function createSwarm(
  components: SwarmComponents,
  init: SwarmInit = {},
): Promise<Swarm> {
  const { store, clock, random, logger, auditLog = noAuditLog } = components;
  const transport = components.transport ?? createSoloTransport();
  const solo = createSoloTransport(transport.self);
  const metrics = createSwarmMetrics(components.metrics);
  const sharing = await loadSharing(store, init.mayShare ?? (() => true));
  const privacy = init.privacy ?? OPEN;
  const origins = await loadOrigins(store, privacy);
  await sweepLedgers(store);
  const conduct = await loadConduct({ store, clock, logger, metrics, auditLog });
  const peers = createPeerClient(transport, clock);
  const zones = createZones(transport);
  const uplink = createUplink(
    { transport, peers, upstream: components.upstream, clock, logger },
    init.uplink ?? {},
  );
  const { upstream } = uplink;
  const notary = createNotary(transport);
  const joined = [...transport.members()];
  const audits = createAudits({
    notary,
    random,
    // Those in good standing last, of the others the newest first.
    doubt: (peer) => (conduct.inGoodStanding(peer) ? -1 : joined.lastIndexOf(peer)),
  });
  const proofs = createProofs({
    transport,
    peers,
    store,
    notary,
    conduct,
    overTls: init.overTls ?? (() => true),
    clock,
    logger,
  });
  const transfers = new Map<Digest, Transfer>();
  const opening = createCoalescer<Transfer | undefined>();
  /** The same, whether somebody still waits for it or not. */
  const beginnings = new Set<Promise<unknown>>();
  let closed = false;
  const wariness = createWariness(clock);
  const manifests = createManifests(store, logger);
  const resolutions = createResolutions(store, clock);
  const site = createSiteRecords({ transport, peers, logger });
  const { shares } = sharing;
  const gives = (digest: Digest, repository: string): boolean =>
    shares(digest) && !origins.hidesFromMembers(digest, repository);

  const directory = createDirectory({
    transport,
    peers,
    store,
    clock,
    random,
    logger,
    gives,
    audits,
    conduct,
  });
  const ownDirectory = createDirectory({
    transport: solo,
    peers: createPeerClient(solo, clock),
    store: { stat: () => undefined, readAll: async () => undefined },
    clock,
    random,
    logger,
    gives,
    audits,
    conduct,
  });
  const allocate = init.allocate ?? Buffer.allocUnsafeSlow;
  const onBytes = (source: "upstream" | "peers", lengthBytes: number): void =>
    metrics.receivedBytes.add(lengthBytes, { source });
  const asking = { peers, clock, logger, trusts: conduct.trusts };
  const lines = () => ({
    site: createRegistration({ ...asking, transport, directory }),
    zone: createRegistration({
      ...asking,
      transport: { self: transport.self, members: zones.mates },
      directory,
    }),
  });
  const unstored = createUnstored({
    upstream,
    peers,
    zones,
    lines,
    notary,
    conduct,
    allocate,
    mayAskMembers: (digest, repository) =>
      sharing.mayShare(repository) && !sharing.isWithheld(digest) && transport.members().length > 0,
    isTransferred({ digest, sizeBytes }) {
      const transfer = transfers.get(digest);
      return transfer?.sizeBytes === sizeBytes && transfer.state === "arriving";
    },
    onBytes,
    clock,
    random,
    logger,
  });
  const announcer = createAnnouncer({ transport, peers, store, clock, logger, shares });
  const resolver = createResolver(
    {
      transport,
      upstream,
      manifests,
      resolutions,
      site,
      mayShare: sharing.mayShare,
      provesAccess: privacy.provesAccess,
      origins,
      clock,
      logger,
    },
    { ...resolverDefaults, ...init.resolve },
  );
  const uploads = createUploads({
    store,
    holdings: createHoldings({ notary, store, clock, logger }),
    clock,
    shares,
    partial: (digest) => partialOf(transfers.get(digest)),
    onBytes(lengthBytes, digest, peer) {
      metrics.sentBytes.add(lengthBytes);
      auditLog.record({ kind: "serve", peer, digest, bytes: lengthBytes });
    },
    bytesPerSecond: init.uploadBytesPerSecond,
  });
  transport.handle(
    createAnswering({
      self: transport.self,
      directory,
      resolver,
      site,
      manifests,
      resolutions,
      uploads,
      uplink,
      sharing,
      origins,
      gives,
      proofs,
      store,
      transferOf: (digest) => transfers.get(digest),
      unstored,
      auditLog,
      logger,
    }),
  );
  const memberUp = transport.on("memberUp", (peer) => {
    if (!joined.includes(peer)) joined.push(peer);
    directory.memberUp(peer);
    announcer.memberUp(peer);
    uplink.memberUp(peer);
  });
  const memberDown = transport.on("memberDown", (peer) => {
    directory.memberDown(peer);
    announcer.memberDown(peer);
    uplink.memberDown(peer);
    for (const transfer of transfers.values()) transfer.memberDown(peer);
    unstored.memberDown(peer);
  });
  for (const peer of transport.members()) {
    directory.memberUp(peer);
    announcer.memberUp(peer);
    uplink.memberUp(peer);
  }

  async function sizeOf(request: BlobRequest, options: AbortOptions): Promise<number> {
    const { sizeBytes, digest, repository, alone = false } = request;
    if (sizeBytes !== undefined) return sizeBytes;
    const running = alone ? undefined : transfers.get(digest)?.sizeBytes;
    if (running !== undefined) return running;
    const shared = !alone && sharing.mayShare(repository);
    return await lookUpSize({ transport, peers, upstream, shared }, repository, digest, options);
  }

  /**
   * What is known from other, private repositories alone is here only once the registry has shown that this one has
   * it. @returns whether it must not be used all the same: of what is arriving nothing can be compared
   */
  async function staysHidden(request: BlobRequest, options: AbortOptions): Promise<boolean> {
    const { digest, repository } = request;
    if (!origins.hides(digest, repository)) return false;
    const shared = sharing.mayShare(repository);
    const lookup = { transport, peers, upstream, shared, byRegistry: true };
    await lookUpSize(lookup, repository, digest, options);
    if (store.stat(digest) === undefined) return true;
    await ensurePossession({ store, upstream, random }, repository, digest, options);
    await origins.confirmed(digest, repository);
    return false;
  }

  async function putEmpty(digest: Digest, repository: Repository): Promise<void> {
    const nothing = new Uint8Array(0);
    if (digestOf(nothing, digestAlgorithm(digest)) !== digest)
      throw new CodedError(
        "ERR_BLOB_SIZE",
        `the manifest says that ${digest} is empty, which it can't be; the image is broken at ${repository.registry}, push it again`,
        { details: { digest } },
      );
    await store.put(digest, nothing);
  }

  /** Gives up pieces that nobody vouches for any more: they could not be given to others. */
  async function resumeLedger(ingest: Ingest): Promise<LedgerLog> {
    const log = await openLedgerLog({ store, clock, logger }, ingest);
    const vouched = new Set(log.resumed.map(({ piece }) => piece));
    await ingest.drop([...ingest.have].filter((piece) => !vouched.has(piece)));
    return log;
  }

  /** The running transfer of the blob, or a new one; `undefined` when it has just been committed. */
  async function transferOf(
    digest: Digest,
    sizeBytes: number,
    repository: Repository,
  ): Promise<Transfer | undefined> {
    const running = transfers.get(digest);
    if (running?.state === "arriving") return running;
    // A transfer that is ending lets go of its ingest first; what it brought is found there.
    await running?.[Symbol.asyncDispose]();
    if (store.stat(digest) !== undefined) return undefined;
    const shared = sharing.mayShare(repository);
    if (!shared) await sharing.withhold(digest);
    await origins.arriving(digest, repository);
    const ingest = await store.openIngest({ digest, sizeBytes });
    const isShared = shared && shares(digest);
    let ledgerLog: LedgerLog | undefined;
    try {
      if (isShared) ledgerLog = await resumeLedger(ingest);
    } catch (error) {
      await ingest[Symbol.asyncDispose]();
      throw error;
    }
    const transfer = createTransfer({
      ingest,
      repository,
      upstream,
      mayAsk: () => uplink.mayAsk(repository.registry),
      peers,
      allocate,
      notary,
      ledgerLog,
      registration: createZonedRegistration({ zones, clock, ...lines() }),
      near: zones.near,
      alone: createRegistration({ ...asking, transport: solo, directory: ownDirectory }),
      shared: isShared,
      members: () => transport.members(),
      trusts: conduct.trusts,
      distrusted: conduct.distrusted,
      onPolluter: conduct.strike,
      inGoodStanding: conduct.inGoodStanding,
      mayLease: () => proofs.mayLease(repository.registry),
      onVerified(vouching, falseClaims) {
        conduct.verified([...vouching].filter((peer) => peer !== undefined));
        proofs.accuse({ digest, sizeBytes }, repository, falseClaims);
      },
      onBytes,
      onEnd() {
        if (transfers.get(digest) === transfer) transfers.delete(digest);
        metrics.transfers.set(transfers.size);
      },
      clock,
      random,
      logger,
    });
    transfers.set(digest, transfer);
    metrics.transfers.set(transfers.size);
    transfer.finished.catch((error: unknown) => {
      if (hasCode(error, "ERR_DIGEST_MISMATCH")) wariness.misled(digest);
    });
    return transfer;
  }

  /** A transfer must not begin in a store that is closed, where nobody would end it. */
  async function begin(
    digest: Digest,
    sizeBytes: number,
    repository: Repository,
  ): Promise<Transfer | undefined> {
    if (closed) throw transferEnded();
    const beginning = transferOf(digest, sizeBytes, repository);
    beginnings.add(beginning);
    try {
      return await beginning;
    } finally {
      beginnings.delete(beginning);
    }
  }

  async function openCommitted(
    digest: Digest,
    options: AbortOptions,
  ): Promise<OpenBlob | undefined> {
    if (store.stat(digest) === undefined) return undefined;
    const handle = await store.open(digest, options);
    return handle && committedBlob(handle);
  }

  async function open(request: BlobRequest, options: AbortOptions = {}): Promise<OpenBlob> {
    const { digest, repository } = request;
    const isHidden = await staysHidden(request, options);
    const here = isHidden ? undefined : await openCommitted(digest, options);
    if (here !== undefined) return here;
    const alone = isHidden || request.alone === true;
    const sizeBytes = await sizeOf({ ...request, alone }, options);
    if (alone)
      return unstoredBlob({ digest, sizeBytes }, repository, unstored.alone, notKept(digest));
    try {
      if (sizeBytes === 0) await putEmpty(digest, repository);
      const transfer =
        sizeBytes === 0
          ? undefined
          : await opening.run(digest, async () => await begin(digest, sizeBytes, repository));
      if (transfer?.sizeBytes === sizeBytes)
        return arrivingBlob(transfer, {
          store,
          repository,
          unstored,
          wary: wariness.isWaryOf(digest),
        });
      const committed = await openCommitted(digest, options);
      if (committed !== undefined) return committed;
    } catch (error) {
      if (!isStoreFailure(error)) throw error;
      logger.warn({ error, digest }, "the store takes no blob; it is streamed unstored");
      metrics.passedThrough.add(1);
      return unstoredBlob({ digest, sizeBytes }, repository, unstored, error);
    }
    // Two manifests give the blob two sizes; only one can be right, and the digest will tell.
    return unstoredBlob(
      { digest, sizeBytes },
      repository,
      unstored,
      new CodedError(
        "ERR_BLOB_SIZE",
        `another image gives ${digest} another size; one of the two manifests is wrong`,
        { details: { digest } },
      ),
    );
  }

  return {
    async resolve(repository, name, options) {
      const resolution = await resolver.resolve(repository, name, options);
      const { from, stale, digest } = resolution;
      if (!sharing.mayShare(repository) && from === "upstream")
        await sharing.withhold(digest).catch((error: unknown) => {
          // What can't be noted on the disk is withheld as long as this daemon runs.
          if (!isStoreFailure(error)) throw error;
        });
      metrics.resolutions.add(1, { from, stale: stale ? "yes" : "no" });
      return resolution;
    },
    open,
    async stat(request, options = {}) {
      const { digest } = request;
      const isHidden = await staysHidden(request, options);
      const here = isHidden ? undefined : store.stat(digest);
      const alone = isHidden || request.alone === true;
      return here ?? { digest, sizeBytes: await sizeOf({ ...request, alone }, options) };
    },
    holds: (digest, repository) =>
      store.stat(digest) !== undefined && !origins.hides(digest, repository),
    lastCopies: createKeepers({ transport, peers, shares, logger }).lastCopies,
    transfers: () =>
      [...transfers.values()].map(({ digest, arrival }) => ({
        digest,
        progress: arrival.progress(),
      })),
    get uploadedBytes() {
      return uploads.uploadedBytes;
    },
    suspects: conduct.list,
    limits: () => ({
      ...uplink.limits.current(),
      ...(uplink.limits.set === undefined ? {} : { set: uplink.limits.set }),
      ...(uploads.bytesPerSecond === undefined
        ? {}
        : { uploadBytesPerSecond: uploads.bytesPerSecond }),
    }),
    setLimits({ uploadBytesPerSecond, ...siteWide }) {
      if (uploadBytesPerSecond !== undefined)
        uploads.bytesPerSecond = uploadBytesPerSecond ?? undefined;
      if (Object.keys(siteWide).length > 0) uplink.change(siteWide);
    },
    async [Symbol.asyncDispose]() {
      memberUp[Symbol.dispose]();
      memberDown[Symbol.dispose]();
      proofs[Symbol.dispose]();
      announcer[Symbol.dispose]();
      uplink[Symbol.dispose]();
      closed = true;
      unstored[Symbol.dispose]();
      await Promise.allSettled(beginnings);
      await Promise.all(
        [...transfers.values()].map(async (transfer) => await transfer[Symbol.asyncDispose]()),
      );
      await uploads[Symbol.asyncDispose]();
      origins[Symbol.dispose]();
    },
  };
}

function notKept(digest: Digest): CodedError<"ERR_BLOB_ALONE"> {
  return new CodedError(
    "ERR_BLOB_ALONE",
    "the blob is read from its registry for one client alone, and not kept",
    { details: { digest } },
  );
}

const OPEN: Privacy = { isPrivate: () => false, provesAccess: () => false };

function partialOf(
  transfer: Transfer | undefined,
): ReturnType<Parameters<typeof createUploads>[0]["partial"]> {
  if (transfer?.exchange === undefined) return undefined;
  const { exchange, arrival, ledger } = transfer;
  return {
    sizeBytes: transfer.sizeBytes,
    async read(offset, length) {
      const piece = pieceAt(arrival.geometry, offset);
      const attestation = await ledger.of(piece);
      const bytes = await transfer.read(offset, length);
      // Between the two the piece may have been taken back and fetched anew.
      const stands = attestation !== undefined && attestation === (await ledger.of(piece));
      return bytes !== undefined && stands ? { bytes, attestation } : undefined;
    },
    others: (offset) => exchange.having(pieceAt(arrival.geometry, offset)),
  };
}
