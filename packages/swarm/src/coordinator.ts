import { type PieceGeometry, pieceGeometry } from "@shoal/store";
import { createCrowd, type Participant } from "./crowd.ts";
import { createPace, type Pace } from "./pace.ts";
import type { PeerIdString } from "./transport.ts";
import type { Sync, SyncReply, WireLease } from "./wire/messages.ts";

/** Constants of the lease office. Times in milliseconds. */
export interface CoordinatorSettings {
  /** Largest lease of a member that is not alone in its site. @default 16 MiB */
  readonly maxLeaseBytes: number;
  /** First such lease; each of a participant's is up to twice the one before. @default 2 MiB */
  readonly firstLeaseBytes: number;
  /** How many lessees at once. @default 64 */
  readonly maxLessees: number;
  /** A lessee without a new byte for this long loses its lease, or 3 × its piece time. @default 2000 */
  readonly stalledMs: number;
  /** The same before a lease's first byte: a registry may want a token first. @default 5000 */
  readonly firstByteMs: number;
  /** How long a coordinator that takes over hears registrations before it leases. @default 200 */
  readonly takeoverMs: number;
  /** Participants ask again after this. @default 500 */
  readonly syncMs: number;
  /** Size of a neighbour set. @default 20 */
  readonly neighbours: number;
  /** A piece should not take longer than this: else there are fewer lessees. @default 4000 */
  readonly pieceMs: number;
  /** Share of the blob that may be leased twice, when one lessee would keep everybody waiting. @default 0.01 */
  readonly backupShare: number;
}

const coordinatorDefaults: CoordinatorSettings = {
  maxLeaseBytes: 16 * 1024 * 1024,
  firstLeaseBytes: 2 * 1024 * 1024,
  maxLessees: 64,
  stalledMs: 2000,
  firstByteMs: 5000,
  takeoverMs: 200,
  syncMs: 500,
  neighbours: 20,
  pieceMs: 4000,
  backupShare: 0.01,
};

/** Fewer lessees than this are never asked for because pieces take long. */
const FEW_LESSEES = 4;
/** A lease should last no longer than this at its lessee's pace. Milliseconds. */
const LEASE_MS = 4000;
/** What participants may ask in all, so that a crowd does not drown its coordinator. */
const SYNCS = 2000;
/** A participant without a lease asks again after this at the latest. Milliseconds. */
const LONGEST_SYNC_MS = 20_000;
/** A lease is not called slow before it has run for this long. Milliseconds. */
const JUDGED_MS = 2000;
/** So many times the remaining makespan is too long for a lease. */
const TOO_LONG = 2;

/** A lease's piece time is a guess after its first bytes: it allows no longer silence than this. */
const MAX_STALLED_MS = 10_000;

interface Lease {
  readonly id: number;
  readonly peer: PeerIdString;
  readonly first: number;
  end: number;
  doneBytes: number;
  readonly grantedMs: number;
  progressMs: number;
  readonly pace: Pace;
  /** It is for a piece that another lease is for too. */
  readonly backup: boolean;
}

/** One blob's coordinator: a directory, a lease office and an introducer. Decisions only, no I/O. */
export interface Coordinator {
  readonly geometry: PieceGeometry;
  readonly idle: boolean;
  /**
   * Takes in a participant's state and decides what it may do. No lease is given while `mayLease` is false.
   * `alone`: the site has no other member, so that a lease may be as long as the blob.
   * @returns `undefined` for a bitfield that does not fit
   */
  sync(from: PeerIdString, message: Sync, office: Office, nowMs: number): Decision | undefined;
  /** A member is gone: its leases are free at once. */
  memberDown(peer: PeerIdString): void;
}

/** What the coordinator's host knows beside the participants. */
export interface Office {
  readonly holders: ReadonlySet<PeerIdString>;
  readonly mayLease: boolean;
  readonly alone: boolean;
}

export interface Decision {
  readonly reply: SyncReply;
  /** Lessees whose leases should shrink: they are asked to sync at once. */
  readonly nudge: readonly PeerIdString[];
}

/** Creates the coordinator of a blob at its first registration. `random` gives floats in [0, 1). */
export function createCoordinator(
  sizeBytes: number,
  init: { readonly random: () => number; readonly settings?: Partial<CoordinatorSettings> },
): Coordinator {
  const settings = { ...coordinatorDefaults, ...init.settings };
  const geometry = pieceGeometry(sizeBytes);
  const crowd = createCrowd(geometry.pieceCount);
  const { participants } = crowd;
  const leases = new Map<number, Lease>();
  const granted = new Map<PeerIdString, number>();
  const paces = new Map<PeerIdString, number>();
  /** Lessees that have to hear that their leases are shorter. */
  const cut = new Set<PeerIdString>();
  const mayBackUp = Math.floor(geometry.pieceCount * settings.backupShare);
  let backedUp = 0;
  let sitePace: Pace | undefined;
  let beganMs = 0;
  let troubledMs = Number.NEGATIVE_INFINITY;
  /** How many lessees the upstream has borne. */
  let borne = settings.maxLessees;
  let epoch = 0;
  let leaseFromMs = 0;
  let lastLeaseId = 0;

  function admit(from: PeerIdString, message: Sync, nowMs: number): Participant | undefined {
    const before = participants.get(from);
    const me = crowd.admit(from, message, nowMs);
    if (me === undefined) return undefined;
    if (epoch === 0) {
      epoch = message.epoch + 1;
      beganMs = nowMs;
      if (message.epoch > 0) leaseFromMs = nowMs + settings.takeoverMs;
    }
    // Its upstream has just failed it: too many at once may be why.
    const failed = before?.canFetch === true && !me.canFetch && me.have.count < geometry.pieceCount;
    if (failed && !message.leaving && nowMs - troubledMs > 1000) {
      troubledMs = nowMs;
      borne = Math.max(1, Math.floor(Math.min(borne, 1 + lessees().size) / 2));
    }
    return me;
  }

  /** Brings this side's leases in line with what the lessee says of them; adopts those of a predecessor. */
  function settle(from: PeerIdString, message: Sync, nowMs: number): void {
    const held = new Map(message.leases.map((lease) => [leaseKey(lease), lease]));
    for (const lease of leases.values()) {
      if (lease.peer !== from) continue;
      const told = held.get(`${epoch}/${lease.id}`);
      if (told === undefined) {
        // It has ended, or the answer that granted it was lost: then it is granted anew.
        end(lease, nowMs);
        continue;
      }
      // A lessee may give back a tail, never take one.
      lease.end = Math.min(lease.end, told.end);
      progress(lease, told.done, nowMs);
    }
    for (const told of message.leases) {
      if (told.epoch === epoch || told.end > geometry.pieceCount || told.first >= told.end)
        continue;
      if (overlapsLease(told)) continue;
      lastLeaseId += 1;
      leases.set(lastLeaseId, {
        id: lastLeaseId,
        peer: from,
        first: told.first,
        end: told.end,
        doneBytes: told.done,
        grantedMs: nowMs,
        progressMs: nowMs,
        pace: createPace(nowMs),
        backup: false,
      });
    }
  }

  function progress(lease: Lease, doneBytes: number, nowMs: number): void {
    const bytes = Math.max(0, doneBytes - lease.doneBytes);
    lease.pace.add(bytes, nowMs);
    sitePace ??= createPace(lease.grantedMs);
    sitePace.add(bytes, nowMs);
    if (bytes === 0) return;
    lease.doneBytes = doneBytes;
    lease.progressMs = nowMs;
    paces.set(
      lease.peer,
      lease.pace.bytesPerMs ?? doneBytes / Math.max(1, nowMs - lease.grantedMs),
    );
  }

  /** The lessee says no more of a lease: what it was for has come, as far as it has. */
  function end(lease: Lease, nowMs: number): void {
    leases.delete(lease.id);
    const whole = (lease.end - lease.first) * geometry.pieceSizeBytes;
    if (participants.get(lease.peer)?.have.has((lease.end - 1) as never) !== true) return;
    progress(lease, whole, nowMs);
    if (nowMs - troubledMs > 1000) borne = Math.min(settings.maxLessees, borne + 1);
  }

  function overlapsLease(range: WireLease): boolean {
    for (const lease of leases.values())
      if (range.first < lease.end && lease.first < range.end) return true;
    return false;
  }

  function expire(nowMs: number): void {
    for (const lease of leases.values()) {
      const pieceMs =
        lease.doneBytes === 0
          ? 0
          : ((lease.progressMs - lease.grantedMs) * geometry.pieceSizeBytes) / lease.doneBytes;
      const allowedMs =
        lease.doneBytes === 0
          ? settings.firstByteMs
          : Math.min(MAX_STALLED_MS, Math.max(settings.stalledMs, 3 * pieceMs));
      if (nowMs - lease.progressMs > allowedMs) {
        leases.delete(lease.id);
        paces.set(lease.peer, 0);
      } else if (needless(lease)) leases.delete(lease.id);
      else cutSlow(lease, nowMs);
    }
    for (const [peer, participant] of participants)
      if (nowMs - participant.seenMs > 3 * LONGEST_SYNC_MS) remove(peer);
  }

  /** Whether all that is left of a lease has come from elsewhere. */
  function needless(lease: Lease): boolean {
    const me = participants.get(lease.peer);
    if (me === undefined) return false;
    for (let piece = position(lease); piece < lease.end; piece++)
      if (me.have.has(piece as never) || !crowd.has(piece, me)) return false;
    return position(lease) < lease.end;
  }

  /** What is left at the site's pace, while others wait for it. Milliseconds. */
  function remainingMs(): number {
    const left = geometry.pieceCount - crowd.heldPieces;
    const pace = sitePace?.bytesPerMs;
    return pace === undefined || pace === 0 ? 1000 : (left * geometry.pieceSizeBytes) / pace;
  }

  function leftMs(lease: Lease, bytes: number): number {
    return bytes / Math.max(1e-6, lease.pace.bytesPerMs ?? Number.POSITIVE_INFINITY);
  }

  /** A lessee that would be at its lease long after all others keeps the piece it is at, and the next. */
  function cutSlow(lease: Lease, nowMs: number): void {
    // One that brings nothing at all is not slow but lost, after a longer time.
    if (nowMs - lease.grantedMs < JUDGED_MS || lease.pace.bytesPerMs === 0) return;
    const left = (lease.end - lease.first) * geometry.pieceSizeBytes - lease.doneBytes;
    const allowed = TOO_LONG * Math.max(LEASE_MS / 4, remainingMs());
    // The lessee is at least a piece further on by the time it hears of it.
    const end = position(lease) + 2;
    if (lease.end <= end || crowd.fetchers() < 2 || leftMs(lease, left) <= allowed) return;
    lease.end = end;
    cut.add(lease.peer);
  }

  /** A piece whose lessee would keep everybody waiting is leased once more, beside it. */
  function backUp(from: PeerIdString, me: Participant, nowMs: number): number | undefined {
    if (backedUp >= mayBackUp) return undefined;
    const allowed = TOO_LONG * Math.max(LEASE_MS / 8, remainingMs());
    let slowest: number | undefined;
    let slowestMs = allowed;
    for (const lease of leases.values()) {
      const piece = position(lease);
      if (lease.peer === from || lease.backup || piece >= lease.end) continue;
      if (nowMs - lease.grantedMs < JUDGED_MS) continue;
      if (crowd.has(piece, me) || [...leases.values()].some((l) => l.backup && l.first === piece))
        continue;
      const pieceMs = leftMs(lease, geometry.pieceSizeBytes);
      if (pieceMs > slowestMs) [slowest, slowestMs] = [piece, pieceMs];
    }
    return slowest;
  }

  function remove(peer: PeerIdString): void {
    crowd.remove(peer);
    for (const lease of leases.values()) if (lease.peer === peer) leases.delete(lease.id);
  }

  /** Pieces that nobody has whom the participant would ask, and nobody is fetching. */
  function openPieces(from: PeerIdString, holders: ReadonlySet<PeerIdString>): Uint8Array {
    const me = participants.get(from)!;
    const open = new Uint8Array(geometry.pieceCount);
    if ([...holders].some((peer) => peer !== from && !me.excluded.has(peer))) return open;
    for (let piece = 0; piece < open.length; piece++) open[piece] = crowd.has(piece, me) ? 0 : 1;
    for (const lease of leases.values())
      if (!me.excluded.has(lease.peer)) open.fill(0, lease.first, lease.end);
    return open;
  }

  function lessees(): Set<PeerIdString> {
    return new Set([...leases.values()].map((lease) => lease.peer));
  }

  /** How many may fetch at once: fewer where the upstream fails them, or pieces take long and few do as well. */
  function mostLessees(): number {
    const pace = sitePace?.bytesPerMs;
    if (pace === undefined) return Math.min(settings.maxLessees, borne);
    const inTime = Math.floor((pace * settings.pieceMs) / geometry.pieceSizeBytes);
    return Math.min(settings.maxLessees, borne, Math.max(FEW_LESSEES, inTime));
  }

  /** Where a lease begins: where a client waits, else at the first piece that is open. */
  function firstOpen(open: Uint8Array): number {
    let first = geometry.pieceCount;
    for (const { cursors } of participants.values())
      for (const cursor of cursors) if (open[cursor] === 1 && cursor < first) first = cursor;
    return first < geometry.pieceCount ? first : open.indexOf(1);
  }

  function grant(
    from: PeerIdString,
    open: Uint8Array,
    alone: boolean,
    nowMs: number,
  ): Lease | undefined {
    const busy = lessees();
    if (busy.has(from) || busy.size >= mostLessees()) return undefined;
    let first = firstOpen(open);
    let end = first;
    const backup = first === -1;
    if (backup) {
      const piece = leases.size === 0 ? undefined : backUp(from, participants.get(from)!, nowMs);
      if (piece === undefined) return undefined;
      backedUp += 1;
      first = piece;
      end = piece + 1;
    } else {
      const unleased = open.reduce((sum, isOpen) => sum + isOpen, 0);
      // Others may be about to ask: what has to be taken back from a long lease has partly been sent already.
      const limit = alone
        ? geometry.pieceCount
        : Math.min(shareOf(unleased, Math.min(crowd.fetchers(), mostLessees())), rampOf(from));
      granted.set(from, (granted.get(from) ?? 0) + 1);
      while (end < geometry.pieceCount && open[end] === 1 && end - first < limit) end += 1;
    }
    lastLeaseId += 1;
    const lease: Lease = {
      id: lastLeaseId,
      peer: from,
      first,
      end,
      doneBytes: 0,
      grantedMs: nowMs,
      progressMs: nowMs,
      pace: createPace(nowMs),
      backup,
    };
    leases.set(lease.id, lease);
    return lease;
  }

  /** Into a zone also those may bring pieces who can't ask the upstream, where none of its members can. */
  function mayBring({ canFetch, zone }: Sync): boolean {
    if (canFetch || zone === undefined) return canFetch;
    return ![...participants.values()].some((participant) => participant.canFetch);
  }

  /** Carries of a member that can't ask the upstream are for those of its zone that can. */
  function giveBack(from: PeerIdString, { zone }: Sync): void {
    if (zone === undefined) return;
    for (const lease of leases.values()) if (lease.peer === from) leases.delete(lease.id);
  }

  /** Guided self-scheduling (Polychronopoulos and Kuck 1987): half of an even share of what is left. */
  function shareOf(pieces: number, among: number): number {
    const most = Math.max(1, Math.floor(settings.maxLeaseBytes / geometry.pieceSizeBytes));
    return Math.max(1, Math.min(most, Math.floor(pieces / (among === 1 ? 1 : 2 * among))));
  }

  function rampOf(from: PeerIdString): number {
    const ramp = settings.firstLeaseBytes * 2 ** Math.min(16, granted.get(from) ?? 0);
    const bytes = Math.min(ramp, (paces.get(from) ?? Number.POSITIVE_INFINITY) * LEASE_MS);
    return Math.max(1, Math.floor(bytes / geometry.pieceSizeBytes));
  }

  /** The piece that a lease is at. */
  function position(lease: Lease): number {
    return lease.first + Math.floor(lease.doneBytes / geometry.pieceSizeBytes);
  }

  /** Leases long enough that newcomers without one should have of their tails. */
  function longLeases(): Lease[] {
    const busy = lessees();
    let waiting = 0;
    for (const [peer, { canFetch, wants }] of participants)
      if (canFetch && wants && !busy.has(peer)) waiting += 1;
    waiting = Math.min(waiting, mostLessees() - busy.size);
    if (waiting <= 0) return [];
    return [...leases.values()].filter((lease) => lease.end - position(lease) > 4 * (waiting + 1));
  }

  function takeBackTails(from: PeerIdString): void {
    const long = longLeases();
    for (const lease of long) {
      if (lease.peer !== from) continue;
      const left = lease.end - position(lease);
      // The lessee is at least a piece further on by the time it hears of it.
      lease.end = Math.min(lease.end, position(lease) + 2 + shareOf(left, crowd.fetchers()));
    }
  }

  function introduce(from: PeerIdString, holders: ReadonlySet<PeerIdString>): PeerIdString[] {
    const excluded = participants.get(from)!.excluded;
    const others = [...participants.keys()].filter(
      (peer) => peer !== from && !holders.has(peer) && !excluded.has(peer),
    );
    return sample(others, settings.neighbours, init.random);
  }

  /** When to ask again: who fetches tells of its progress, others have little to say. */
  function retryMs(from: PeerIdString, nowMs: number): number {
    const told = crowd.heldPieces / geometry.pieceCount;
    const makespanMs = (nowMs - beganMs) / Math.max(told, 1 / geometry.pieceCount);
    if (lessees().has(from))
      return Math.max(settings.syncMs, Math.min(settings.stalledMs / 2, makespanMs / 50));
    const shared = (participants.size * Math.max(makespanMs, 2 * SYNCS)) / SYNCS;
    return Math.max(settings.syncMs, Math.min(LONGEST_SYNC_MS, shared));
  }

  function hopeFor(from: PeerIdString, holders: ReadonlySet<PeerIdString>): boolean {
    const me = participants.get(from)!;
    if ([...holders].some((peer) => peer !== from && !me.excluded.has(peer))) return true;
    for (const [peer, other] of participants) {
      if (peer === from || me.excluded.has(peer)) continue;
      if (other.canFetch) return true;
      for (let at = 0; at < other.have.words.length; at++)
        if ((other.have.words[at]! & ~me.have.words[at]!) !== 0) return true;
    }
    return false;
  }

  return {
    geometry,
    get idle() {
      return participants.size === 0;
    },
    sync(from, message, { holders: allHolders, mayLease, alone }, nowMs) {
      const me = admit(from, message, nowMs);
      if (me === undefined) return undefined;
      settle(from, message, nowMs);
      expire(nowMs);
      takeBackTails(from);
      if (!mayBring(message)) giveBack(from, message);
      const leasing = mayLease && nowMs >= leaseFromMs;
      if (leasing && mayBring(message) && message.wants && !message.leaving)
        grant(from, inside(message, openPieces(from, allHolders)), alone, nowMs);
      const reply: SyncReply = {
        type: "synced",
        epoch,
        holders: [...allHolders]
          .filter((peer) => peer !== from && !me.excluded.has(peer))
          .slice(0, settings.neighbours),
        neighbours: introduce(from, allHolders),
        leases: [...leases.values()]
          .filter((lease) => lease.peer === from)
          .map(({ id, first, end }) => ({ id, epoch, first, end })),
        participants: participants.size,
        hope: hopeFor(from, allHolders),
        retryMs: leasing ? Math.round(retryMs(from, nowMs)) : 50,
      };
      const nudge = [...cut.union(new Set(longLeases().map((lease) => lease.peer)))].filter(
        (peer) => peer !== from,
      );
      cut.clear();
      if (message.leaving) remove(from);
      return { reply, nudge };
    },
    memberDown: remove,
  };
}

/** Of the open pieces those that the participant has a use for. */
function inside({ within }: Sync, open: Uint8Array): Uint8Array {
  if (within === undefined) return open;
  return open.map((isOpen, piece) =>
    isOpen === 1 && within.some(([first, end]) => piece >= first && piece < end) ? 1 : 0,
  );
}

function leaseKey(lease: { readonly epoch: number; readonly id: number }): string {
  return `${lease.epoch}/${lease.id}`;
}

/** Some of the items at random, in random order (Fisher and Yates, as far as is needed). */
function sample<Item>(items: Item[], count: number, random: () => number): Item[] {
  const some = Math.min(count, items.length);
  for (let i = 0; i < some; i++) {
    const j = i + Math.floor(random() * (items.length - i));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items.slice(0, some);
}
