import type { Digest } from "@shoal/oci";
import { type Clock, CodedError, type Logger } from "@shoal/runtime";
import { bitfieldFromBytes, pieceGeometry, type Store } from "@shoal/store";
import type { Audits } from "./audits.ts";
import type { Conduct } from "./conduct.ts";
import { type Coordinator, createCoordinator } from "./coordinator.ts";
import type { PeerClient } from "./peer-client.ts";
import { rank } from "./rendezvous.ts";
import { parseWireRepository } from "./sharing.ts";
import type { PeerIdString } from "./transport.ts";
import type { ControlRequest, Sync, SyncReply } from "./wire/messages.ts";
import { createSyncBudget } from "./sync-budget.ts";
import { createZones, type ZonedTransport } from "./zones.ts";

/** Blobs up to this travel inside the coordinator's answer. */
const INLINE_BYTES = 64 * 1024;
/** How long a new member's announcements are waited for before leases are given. Milliseconds. */
const SETTLE_MS = 1000;
const FORWARD_TIMEOUT_MS = 1500;
const MAX_HELD_BY_PEER = 10_000;

type Announce = Extract<ControlRequest, { type: "announce" }>;

/** The coordinators that this member hosts, and what members have told of whole blobs. */
export interface Directory {
  /** Answers a participant, or passes its message on once to the member that should. */
  sync(from: PeerIdString, message: Sync, signal?: AbortSignal): Promise<SyncReply>;
  announce(from: PeerIdString, message: Announce): void;
  /** Size of a blob that a member announced here. */
  sizeOf(digest: Digest): number | undefined;
  memberUp(peer: PeerIdString): void;
  memberDown(peer: PeerIdString): void;
}

export interface DirectoryComponents {
  readonly transport: ZonedTransport;
  readonly peers: PeerClient;
  readonly store: Pick<Store, "stat" | "readAll">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly audits: Audits;
  /** How members have behaved. */
  readonly conduct: Pick<Conduct, "mayLease" | "trusts">;
  readonly logger: Logger;
  /** Whether others may have what this member holds of the blob, under the name of the repository. */
  readonly gives: (digest: Digest, repository: string) => boolean;
}

interface Announced {
  readonly sizeBytes: number;
  readonly peers: Set<PeerIdString>;
}

export function createDirectory(components: DirectoryComponents): Directory {
  const { transport, peers, store, clock, random, logger, gives, audits, conduct } = components;
  const announced = new Map<Digest, Announced[]>();
  const heldBy = new Map<PeerIdString, Set<Digest>>();
  const coordinators = new Map<string, Coordinator>();
  const settling = new Map<PeerIdString, number>();
  const budget = createSyncBudget();
  const zones = createZones(transport);

  function holdersOf({ digest, size: sizeBytes, repository }: Sync): Set<PeerIdString> {
    const entry = announced.get(digest)?.find((candidate) => candidate.sizeBytes === sizeBytes);
    const holders = new Set(entry?.peers);
    if (store.stat(digest)?.sizeBytes === sizeBytes && gives(digest, repository))
      holders.add(transport.self);
    return holders;
  }

  function settled(): boolean {
    const nowMs = clock.now();
    for (const [peer, upMs] of settling) if (nowMs - upMs > SETTLE_MS) settling.delete(peer);
    return settling.size === 0;
  }

  /** Those among whom the message's coordinator is chosen. */
  function othersFor({ zone }: Sync): readonly PeerIdString[] {
    if (zone === undefined) return transport.members();
    if (zone === zones.own) return zones.mates();
    throw new CodedError("ERR_MESSAGE", "a member registers in a zone that this machine is not in");
  }

  function coordinatorOf({ digest, size: sizeBytes, zone }: Sync): Coordinator {
    const key = `${digest}/${sizeBytes}${zone === undefined ? "" : `/${zone}`}`;
    const known = coordinators.get(key);
    if (known !== undefined) return known;
    for (const [other, coordinator] of coordinators)
      if (coordinator.idle) coordinators.delete(other);
    const created = createCoordinator(sizeBytes, { random });
    coordinators.set(key, created);
    return created;
  }

  /** @param teller whose message it is, which may be about another participant */
  function ensureWithinBudget(teller: PeerIdString, message: Sync): void {
    if (teller === transport.self) return;
    const { digest, size, zone, origin, leaving } = message;
    const key = `${digest}/${size}/${zone ?? ""}/${origin ?? ""}`;
    if (leaving) budget.leave(teller, key);
    else if (!budget.take(teller, key, pieceGeometry(size).pieceCount, clock.now()))
      throw new CodedError("ERR_LIMIT", "a member registers for more than it can want at a time");
  }

  /** Nobody speaks for a member that can be heard, nor one that is not trusted for anybody. */
  function ensureMaySpeak(teller: PeerIdString, about: PeerIdString): void {
    const isHere = about === transport.self || transport.members().includes(about);
    if (isHere || !conduct.trusts(teller))
      throw new CodedError("ERR_MESSAGE", "a member speaks for one that can speak for itself");
  }

  /** @param teller the member that passed the message on */
  async function decide(from: PeerIdString, told: Sync, teller?: PeerIdString): Promise<SyncReply> {
    ensureWithinBudget(teller ?? from, told);
    const { registry } = parseWireRepository(told.repository);
    const may = [from, ...(teller === undefined ? [] : [teller])].every(
      (peer) => peer === transport.self || conduct.mayLease(peer, registry),
    );
    const message = may ? told : { ...told, canFetch: false, wants: false };
    const others = othersFor(message);
    const coordinator = coordinatorOf(message);
    const holders = holdersOf(message);
    if (message.zone !== undefined)
      for (const peer of holders) if (!zones.near(peer)) holders.delete(peer);
    const office = { holders, mayLease: settled(), alone: others.length === 0, teller };
    const decision = coordinator.sync(from, message, office, clock.now());
    if (decision === undefined)
      throw new CodedError(
        "ERR_MESSAGE",
        "a member's bitfield does not fit the blob's size, or it speaks for too many",
      );
    for (const peer of decision.nudge) nudge(peer, message);
    // Its announcement is on its way: until then nobody would seem to have what it brought.
    const isOwnWord = teller === undefined && from !== transport.self;
    if (message.leaving && isOwnWord && isWhole(message)) hold(from, message.digest, message.size);
    const inline =
      from !== transport.self &&
      message.size <= INLINE_BYTES &&
      holders.has(transport.self) &&
      !message.excluded.includes(transport.self);
    const audit = teller === undefined ? await audits.sync(from, message, clock.now()) : undefined;
    const content = inline ? await store.readAll(message.digest, INLINE_BYTES) : undefined;
    const { holders: named, neighbours } = decision.reply;
    return {
      ...decision.reply,
      holders: named.filter(conduct.trusts),
      neighbours: neighbours.filter(conduct.trusts),
      ...(content === undefined ? {} : { content }),
      ...(audit === undefined ? {} : { audit }),
    };
  }

  function hold(peer: PeerIdString, digest: Digest, sizeBytes: number): void {
    const held = heldBy.get(peer) ?? new Set<Digest>();
    heldBy.set(peer, held);
    // A blob has one size: who tells of another takes back what it told before.
    if (held.has(digest)) forget(peer, digest);
    else if (held.size >= MAX_HELD_BY_PEER) return;
    held.add(digest);
    const entries = announced.get(digest) ?? [];
    const entry = entries.find((candidate) => candidate.sizeBytes === sizeBytes);
    if (entry === undefined) entries.push({ sizeBytes, peers: new Set([peer]) });
    else entry.peers.add(peer);
    announced.set(digest, entries);
  }

  function nudge(peer: PeerIdString, { digest, size }: Sync): void {
    if (peer === transport.self) return;
    peers
      .ask(peer, { type: "nudge", digest, size })
      .catch((error: unknown) => logger.debug({ error, peer }, "a nudge did not arrive"));
  }

  function forget(peer: PeerIdString, digest: Digest): void {
    const entries = announced.get(digest);
    if (entries === undefined) return;
    for (const entry of entries) entry.peers.delete(peer);
    const left = entries.filter((entry) => entry.peers.size > 0);
    if (left.length === 0) announced.delete(digest);
    else announced.set(digest, left);
  }

  return {
    async sync(from, message, signal) {
      const { origin } = message;
      if (origin !== undefined) {
        ensureMaySpeak(from, origin);
        return await decide(origin, message, from);
      }
      const ranked = rank([transport.self, ...othersFor(message)], message.digest);
      const first = ranked.find((peer) => !message.passedOver.includes(peer));
      if (first === undefined || first === transport.self) return await decide(from, message);
      try {
        const forwarded: Sync = { ...message, origin: from };
        return await peers.ask(first, forwarded, { signal, timeoutMs: FORWARD_TIMEOUT_MS });
      } catch (error) {
        signal?.throwIfAborted();
        logger.debug(
          { error, peer: first },
          "the coordinator does not answer; this member stands in",
        );
        return await decide(from, message);
      }
    },
    announce(from, message) {
      for (const digest of message.gone) {
        heldBy.get(from)?.delete(digest);
        forget(from, digest);
      }
      for (const [digest, sizeBytes] of message.held) hold(from, digest, sizeBytes);
      if (message.complete) settling.delete(from);
    },
    sizeOf: (digest) => announced.get(digest)?.[0]?.sizeBytes,
    memberUp(peer) {
      settling.set(peer, clock.now());
    },
    memberDown(peer) {
      settling.delete(peer);
      budget.forget(peer);
      for (const digest of heldBy.get(peer) ?? []) forget(peer, digest);
      heldBy.delete(peer);
      for (const coordinator of coordinators.values()) coordinator.memberDown(peer);
    },
  };
}

function isWhole({ size, have }: Sync): boolean {
  return bitfieldFromBytes(pieceGeometry(size).pieceCount, have)?.complete === true;
}
