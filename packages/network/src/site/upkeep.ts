import type { Clock, Logger } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import { type Certificate, hasRole } from "./certificate.ts";
import type { Credentials, Standing } from "./credentials.ts";

const TICK_MS = 1000;
/** A member by chance is told what this machine knows, should it have missed something. Milliseconds. */
const GOSSIP_MS = 30_000;
/** Who has the token alone is still told that it admits nobody any more. Milliseconds. */
const TOKEN_GRACE_MS = 3000;
const RETRY = { least: 1000, most: 10 * 60_000 };

export interface UpkeepInit {
  readonly credentials: Credentials;
  readonly members: {
    readonly peers: readonly PeerIdString[];
    standingOf(peer: PeerIdString): Standing | undefined;
    /** Cuts every connection of a peer. */
    cut(peer: PeerIdString, why: string): void;
  };
  /** This machine's own issuing, else a member's. */
  readonly renewals: {
    own(certificate: Certificate): Promise<Certificate | undefined>;
    ask(peer: PeerIdString): Promise<Uint8Array | undefined>;
  };
  readonly tell: (peer: PeerIdString) => void;
  /** This machine has a new certificate, to be kept and shown. */
  readonly onRenewed: (document: Uint8Array) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Cuts who is a member no more, renews this machine's certificate, and keeps the members' knowledge the same. */
export interface Upkeep {
  /** To be called when what this machine knows has changed: it cuts at once. */
  review(): void;
}

export function startUpkeep(init: UpkeepInit): Upkeep {
  const { credentials, members, renewals, clock, random, logger, signal } = init;
  let renewMs = Number.NEGATIVE_INFINITY;
  let renewing = false;
  let gossipMs = clock.now() + GOSSIP_MS;
  let toldEnded = false;
  let tokenEndMs: number | undefined;

  function isInGrace(peer: PeerIdString, { token }: Standing): boolean {
    const { notices } = credentials;
    if (!token || notices?.tokenEndedMs === undefined) return false;
    tokenEndMs ??= clock.now();
    return notices.revocationOf(peer) === undefined && clock.now() < tokenEndMs + TOKEN_GRACE_MS;
  }

  function review(): void {
    for (const peer of members.peers) {
      const standing = members.standingOf(peer);
      if (standing === undefined || credentials.admits(peer, standing)) continue;
      if (isInGrace(peer, standing)) continue;
      logger.warn(
        { peer },
        "a peer is a member no more: it was revoked, or what admitted it ended",
      );
      members.cut(peer, "is a member no more");
    }
  }

  async function ownRenewal(certificate: Certificate): Promise<Uint8Array | undefined> {
    try {
      return (await renewals.own(certificate))?.document;
    } catch (error) {
      logger.warn({ error }, "this machine's certificate could not be renewed by its own site key");
      return undefined;
    }
  }

  /** Whether a document is a newer certificate of the same machine. @throws ERR_SITE_DOCUMENT */
  function isNewer(document: Uint8Array, { peer, issuedAtMs }: Certificate): boolean {
    const given = credentials.read(document, peer);
    return given !== undefined && given.issuedAtMs > issuedAtMs;
  }

  async function renewed(certificate: Certificate): Promise<Uint8Array | undefined> {
    const own = await ownRenewal(certificate);
    if (own !== undefined) return own;
    const issuers = members.peers.filter((peer) =>
      hasRole(members.standingOf(peer)?.certificate, "issuer"),
    );
    for (const peer of issuers) {
      try {
        const document = await renewals.ask(peer);
        if (document !== undefined && isNewer(document, certificate)) return document;
      } catch (error) {
        logger.debug({ error, peer }, "a member gives no new certificate");
      }
    }
    return undefined;
  }

  async function renew(certificate: Certificate): Promise<void> {
    renewing = true;
    // Also after a success: to a clock that is far ahead the new one is due as well.
    renewMs = clock.now() + retryMs(certificate);
    try {
      const document = await renewed(certificate);
      if (signal.aborted) return;
      if (document === undefined) {
        if (isEnding(certificate, clock.wallNow()))
          logger.warn(
            { notAfter: new Date(certificate.notAfterMs).toISOString() },
            "this machine's certificate ends soon and nobody renews it; see that a machine with the site key is up",
          );
      } else init.onRenewed(document);
    } catch (error) {
      logger.warn({ error }, "this machine's certificate could not be renewed");
    } finally {
      renewing = false;
    }
  }

  function tellOfEnd(certificate: Certificate): void {
    const standing = { token: false, certificate };
    const ended = !credentials.admits(certificate.peer, standing);
    if (ended && !toldEnded)
      logger.error(
        { notAfter: new Date(certificate.notAfterMs).toISOString() },
        "this machine's certificate has ended or was revoked; run `shoal join` with a new join token",
      );
    toldEnded = ended;
  }

  function tick(): void {
    if (signal.aborted) return;
    clock.schedule(TICK_MS, tick);
    review();
    const { certificate } = credentials;
    if (certificate !== undefined) {
      tellOfEnd(certificate);
      // One that has ended can still be renewed by who has the site key itself.
      const isGood = credentials.notices?.isRevoked(certificate) !== true;
      if (!renewing && isGood && clock.now() >= renewMs && isDue(certificate, clock.wallNow()))
        void renew(certificate);
    }
    if (clock.now() < gossipMs) return;
    gossipMs = clock.now() + GOSSIP_MS;
    const peer = members.peers[Math.floor(random() * members.peers.length)];
    if (peer !== undefined) init.tell(peer);
  }

  clock.schedule(TICK_MS, tick);
  return { review };
}

type Lifetime = Pick<Certificate, "issuedAtMs" | "notAfterMs">;

/** A certificate is renewed in the last third of its time. */
function isDue({ issuedAtMs, notAfterMs }: Lifetime, nowMs: number): boolean {
  return nowMs >= notAfterMs - (notAfterMs - issuedAtMs) / 3;
}

function isEnding({ issuedAtMs, notAfterMs }: Lifetime, nowMs: number): boolean {
  return nowMs >= notAfterMs - (notAfterMs - issuedAtMs) / 10;
}

function retryMs({ issuedAtMs, notAfterMs }: Lifetime): number {
  return Math.min(RETRY.most, Math.max(RETRY.least, (notAfterMs - issuedAtMs) / 100));
}
