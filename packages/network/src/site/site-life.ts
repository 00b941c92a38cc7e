import type { Connection, Stream } from "@libp2p/interface";
import { type AuditLog, type Clock, createTurns, type Logger } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import { endpointOf } from "../addresses.ts";
import { unreachable } from "../faults.ts";
import { frameStream } from "../frames.ts";
import type { NetworkMetrics } from "../metrics.ts";
import { type Membership, peerOf } from "../membership.ts";
import type { MemberProtocols } from "../member-protocols.ts";
import { createAttempts } from "./attempts.ts";
import { type Certificate, hasRole } from "./certificate.ts";
import type { Credentials, SiteRecord } from "./credentials.ts";
import { grantJoin, ISSUER_LIMITS, type Issuer, JOIN_PROTOCOL } from "./join-exchange.ts";
import { createSiteNews, SITE_LIMITS, SITE_PROTOCOL } from "./site-news.ts";
import { startUpkeep } from "./upkeep.ts";

/** What one address may try to join, and all of them together. */
const JOINS = { burst: 10, everyMs: 6000 };
const ALL_JOINS = { burst: 100, everyMs: 600 };
const ALL = "all";
/** A member needs a new certificate once in months; seconds apart are none but a fault's. */
const RENEWALS = { burst: 5, everyMs: 10_000 };
const KEEP_RETRY_MS = 30_000;

export interface SiteLifeInit {
  readonly self: PeerIdString;
  readonly credentials: Credentials;
  readonly siteToken: string | undefined;
  readonly membership: Pick<
    Membership,
    "peers" | "standingOf" | "certified" | "cut" | "connections" | "on"
  >;
  readonly protocols: Pick<MemberProtocols, "forMembers">;
  readonly issuer: Issuer | undefined;
  /** Keeps what this machine knows of its site, durably. */
  readonly keep: (record: SiteRecord) => Promise<void>;
  readonly metrics: Pick<NetworkMetrics, "certificateEnd" | "revocations">;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** What goes on in a site beside the admissions: news, renewals, joins, and the end of memberships. */
export interface SiteLife {
  readonly protocols: Readonly<Record<string, (stream: Stream, connection: Connection) => void>>;
  /** Takes and keeps what this machine was given, or has signed, and tells it to all. */
  take(change: {
    readonly record?: SiteRecord;
    readonly notices?: readonly Uint8Array[];
  }): Promise<void>;
}

export function startSiteLife(init: SiteLifeInit): SiteLife {
  const { self, credentials, membership, issuer, audit, clock, logger, signal } = init;
  const joins = createAttempts(JOINS);
  const allJoins = createAttempts(ALL_JOINS);
  const renewals = createAttempts(RENEWALS);
  const inTurn = createTurns();
  /** Of each revoked peer, the time that is on record. */
  const recorded = new Map(revocations());
  let tokenEndRecorded = credentials.notices?.tokenEndedMs !== undefined;

  function revocations(): [string, number][] {
    const known = credentials.notices?.revocations ?? [];
    return known.map(({ peer, beforeMs }) => [peer, beforeMs]);
  }

  function recordNews(): void {
    for (const [peer, beforeMs] of revocations())
      if (recorded.get(peer) !== beforeMs) audit.record({ kind: "revoke", peer });
    recorded.clear();
    for (const [peer, beforeMs] of revocations()) recorded.set(peer, beforeMs);
    if (credentials.notices?.tokenEndedMs === undefined || tokenEndRecorded) return;
    tokenEndRecorded = true;
    audit.record({ kind: "token-end", site: credentials.site.id });
  }

  function measure(): void {
    init.metrics.certificateEnd.set((credentials.certificate?.notAfterMs ?? 0) / 1000);
    init.metrics.revocations.set(revocations().length);
  }

  async function keep(): Promise<void> {
    measure();
    await inTurn(async () => {
      // In another site this one's record would take the place of what is kept of that.
      signal.throwIfAborted();
      await init.keep(credentials.record());
    });
  }

  function keepAnyway(): void {
    if (signal.aborted) return;
    keep().catch((error: unknown) => {
      if (signal.aborted) return;
      logger.error({ error }, "what this machine knows of its site could not be kept");
      clock.schedule(KEEP_RETRY_MS, keepAnyway);
    });
  }

  function afterMs(peer: PeerIdString): number {
    return credentials.notices?.revocationOf(peer)?.beforeMs ?? 0;
  }

  async function renew(certificate: Certificate): Promise<Certificate | undefined> {
    if (!hasRole(credentials.certificate, "issuer")) return undefined;
    return await issuer?.renew(certificate);
  }

  const news = createSiteNews({
    credentials,
    connections: membership.connections,
    hasToken: (peer) => membership.standingOf(peer)?.token === true,
    onCertificate: membership.certified,
    onNews() {
      upkeep.review();
      recordNews();
      keepAnyway();
      news.tell();
    },
    async renew(peer) {
      const certificate = membership.standingOf(peer)?.certificate;
      if (certificate === undefined) return undefined;
      // What it is now: it may have been admitted by the token, or be about to be cut.
      const standing = { token: false, certificate };
      if (!credentials.admits(peer, standing) || !renewals.take(peer, clock.now()))
        return undefined;
      return await renew(certificate);
    },
    clock,
    logger,
    signal,
  });
  const upkeep = startUpkeep({
    credentials,
    members: membership,
    renewals: { own: renew, ask: news.askRenewal },
    tell: news.tell,
    onRenewed(document) {
      credentials.install({ ...credentials.record(), certificate: document });
      logger.info({}, "this machine's certificate was renewed");
      keepAnyway();
      news.tell();
    },
    clock,
    random: init.random,
    logger,
    signal,
  });
  measure();
  const subscription = membership.on("memberUp", (peer) => news.tell(peer));
  signal.addEventListener("abort", () => subscription[Symbol.dispose]());

  function answerJoin(stream: Stream, connection: Connection): void {
    const address = endpointOf(connection.remoteAddr)?.host ?? "";
    const record = credentials.record();
    const mayTry = joins.take(address, clock.now()) && allJoins.take(ALL, clock.now());
    const remote = peerOf(connection);
    const refused = (): void =>
      audit.record({
        kind: "deny",
        at: "admission",
        reason: "join-token",
        who: address,
        what: remote,
      });
    if (issuer === undefined || !hasRole(credentials.certificate, "issuer") || !mayTry) {
      if (!mayTry) refused();
      stream.abort(unreachable("admits nobody"));
      return;
    }
    const framed = frameStream(stream, ISSUER_LIMITS);
    grantJoin(framed, {
      issuer,
      record,
      siteToken: credentials.tokenKey() === undefined ? undefined : init.siteToken,
      self,
      remote,
      afterMs: afterMs(remote),
      revocationOf: (peer) => credentials.notices?.revocationOf(peer),
    })
      .then(async ({ name }) => {
        logger.info({ peer: remote, name, address }, "a machine was given a certificate");
        await stream.close();
      })
      .catch((error: unknown) => {
        logger.info({ error, address }, "a machine was not given a certificate");
        refused();
        framed.abort(unreachable("was not given a certificate"));
      });
  }

  return {
    protocols: {
      [JOIN_PROTOCOL]: answerJoin,
      [SITE_PROTOCOL]: init.protocols.forMembers(SITE_LIMITS, news.answer),
    },
    async take({ record, notices }) {
      if (record !== undefined) credentials.install(record);
      if (notices !== undefined) credentials.learn(notices);
      upkeep.review();
      recordNews();
      news.tell();
      try {
        await keep();
      } catch (error) {
        // It holds until a restart, and is told as not kept; a disk that is full now may have room later.
        clock.schedule(KEEP_RETRY_MS, keepAnyway);
        throw error;
      }
    },
  };
}
