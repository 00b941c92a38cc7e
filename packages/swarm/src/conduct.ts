import type { Digest, RegistryHost } from "@shoal/oci";
import type { AuditLog, Clock, Logger } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";
import type { SwarmMetrics } from "./metrics.ts";
import type { PeerIdString } from "./transport.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Strikes within an hour, after which nothing more is taken from a member. */
const STRIKES = 3;
/** Nobody leases for a registry this long after a false blob of it. */
const LEASELESS_MS = 600_000;
/** False blobs that a member withdraws at once are forgiven this long after the first: they are of one cause. */
const WITHDRAWING_MS = 600_000;

/** A blob that a member's attestation is false about. */
export interface FalseBlob {
  readonly digest: Digest;
  readonly registry: RegistryHost;
  /** Whether the lie can't have come from a registry that is read without TLS. */
  readonly certain: boolean;
  /** The member says that its registry gave it so, and fetches nothing from there for a day. */
  readonly withdrawn: boolean;
  /** What convinces every member that has the blob: the encoded `accuse` message, in base64. */
  readonly proof: string;
}

export interface Verdict extends FalseBlob {
  /** Wall-clock milliseconds. */
  readonly atMs: number;
}

export interface MemberConduct {
  readonly peer: PeerIdString;
  readonly strikes: number;
  /** Wall-clock milliseconds. */
  readonly bannedUntilMs?: number;
  /** Those of a day, and those of a ban that lasts; the oldest first. */
  readonly falseBlobs: readonly Verdict[];
}

/** How members have behaved: strikes, bans and good standing. Bans outlive the process. */
export interface Conduct {
  /** Whether pieces are taken from the member. */
  readonly trusts: (peer: PeerIdString) => boolean;
  /** Members whom nothing is taken from. */
  readonly distrusted: () => PeerIdString[];
  /** Whether the member may be asked to fetch from the registry for others. */
  readonly mayLease: (peer: PeerIdString, registry: RegistryHost) => boolean;
  /** A member sent something else than was promised. */
  readonly strike: (peer: PeerIdString) => void;
  /** A member's attestation is false, held against a verified blob. @returns whether that is news */
  readonly convict: (peer: PeerIdString, blob: FalseBlob) => Promise<boolean>;
  /** A blob with pieces that these members vouch for was verified. */
  readonly verified: (peers: Iterable<PeerIdString>) => void;
  readonly inGoodStanding: (peer: PeerIdString) => boolean;
  readonly list: () => MemberConduct[];
}

interface Record_ {
  readonly verdicts: readonly Verdict[];
  readonly bans: number;
  readonly bannedUntilMs: number;
}

export async function loadConduct(components: {
  readonly store: Pick<Store, "table" | "on">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: SwarmMetrics;
  readonly auditLog: AuditLog;
}): Promise<Conduct> {
  const { store, clock, logger, metrics, auditLog } = components;
  const table: RecordTable<Record_> = store.table("bans");
  const records = new Map<PeerIdString, Record_>();
  const struckMs = new Map<PeerIdString, number[]>();
  const standing = new Set<PeerIdString>();
  await load();
  store.on("indexOpened", () => {
    load().catch((error: unknown) => logger.warn({ error }, "the bans could not be read"));
  });

  async function load(): Promise<void> {
    for await (const [key, record] of table.entries()) {
      const peer = key as PeerIdString;
      // What it has done since counts more.
      if (!records.has(peer)) records.set(peer, record);
    }
    tellBanned();
  }

  function recent(peer: PeerIdString): readonly Verdict[] {
    const nowMs = clock.wallNow();
    return (records.get(peer)?.verdicts ?? []).filter(({ atMs }) => nowMs - atMs < DAY_MS);
  }

  function strikesOf(peer: PeerIdString): number {
    const local = (struckMs.get(peer) ?? []).filter((atMs) => clock.now() - atMs < HOUR_MS);
    return local.length + recent(peer).length;
  }

  function bannedUntilMs(peer: PeerIdString): number | undefined {
    const untilMs = records.get(peer)?.bannedUntilMs ?? 0;
    return untilMs > clock.wallNow() ? untilMs : undefined;
  }

  function trusts(peer: PeerIdString): boolean {
    return strikesOf(peer) < STRIKES && bannedUntilMs(peer) === undefined;
  }

  function known(): PeerIdString[] {
    return [...new Set([...records.keys(), ...struckMs.keys()])];
  }

  function tellBanned(): void {
    metrics.banned.set(known().filter((peer) => !trusts(peer)).length);
  }

  return {
    trusts,
    distrusted: () => known().filter((peer) => !trusts(peer)),
    mayLease(peer, registry) {
      if (bannedUntilMs(peer) !== undefined) return false;
      const nowMs = clock.wallNow();
      return !recent(peer).some(
        (verdict) =>
          verdict.registry === registry &&
          nowMs - verdict.atMs < (verdict.withdrawn ? DAY_MS : LEASELESS_MS),
      );
    },
    strike(peer) {
      const struck = [...(struckMs.get(peer) ?? []), clock.now()];
      struckMs.set(peer, struck.slice(-STRIKES));
      metrics.verificationFailures.add(1);
      logger.warn(
        { peer, strikes: strikesOf(peer) },
        "a member sent a piece that nobody vouches for, or another one than was promised",
      );
      auditLog.record({
        kind: "verification-failure",
        of: "piece",
        who: peer,
        strikes: strikesOf(peer),
      });
      tellBanned();
    },
    async convict(peer, blob) {
      const before = recent(peer);
      if (before.some(({ digest }) => digest === blob.digest)) return false;
      const nowMs = clock.wallNow();
      const first = before.find(
        ({ withdrawn, registry }) => withdrawn && registry === blob.registry,
      );
      const withdrawn =
        blob.withdrawn && (first === undefined || nowMs - first.atMs < WITHDRAWING_MS);
      const verdicts = [...before, { ...blob, withdrawn, atMs: nowMs }];
      const counted = verdicts.filter((one) => one.certain && !one.withdrawn).length;
      const old = records.get(peer);
      const bans = (old?.bans ?? 0) + (counted >= 2 ? 1 : 0);
      const lastsMs = Math.min(DAY_MS, HOUR_MS * 2 ** (bans - 1));
      const record = {
        verdicts,
        bans,
        bannedUntilMs: counted >= 2 ? nowMs + lastsMs : (old?.bannedUntilMs ?? 0),
      };
      records.set(peer, record);
      standing.delete(peer);
      metrics.falseBlobs.add(1);
      tellBanned();
      logger.warn(
        { peer, digest: blob.digest, strikes: strikesOf(peer) },
        "a member vouched for a piece of a blob that is not the blob's",
      );
      auditLog.record({
        kind: "verification-failure",
        of: "attestation",
        who: peer,
        digest: blob.digest,
        strikes: strikesOf(peer),
      });
      if (counted >= 2) {
        const bannedUntil = new Date(record.bannedUntilMs).toISOString();
        logger.warn(
          { peer, bannedUntil },
          "a member is banned: it vouched for wrong pieces of several blobs",
        );
        auditLog.record({ kind: "ban", peer, until: bannedUntil });
      }
      await table.put(peer, record, { durable: true });
      return true;
    },
    verified(peers) {
      for (const peer of peers) if (recent(peer).length === 0) standing.add(peer);
    },
    inGoodStanding: (peer) => standing.has(peer) && trusts(peer),
    list: () =>
      known()
        .map((peer) => {
          const untilMs = bannedUntilMs(peer);
          const until = untilMs === undefined ? {} : { bannedUntilMs: untilMs };
          const falseBlobs =
            untilMs === undefined ? recent(peer) : (records.get(peer)?.verdicts ?? []);
          return { peer, strikes: strikesOf(peer), ...until, falseBlobs };
        })
        .filter(({ strikes, bannedUntilMs: untilMs }) => strikes > 0 || untilMs !== undefined),
  };
}
