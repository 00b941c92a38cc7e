import { type PieceGeometry, pieceGeometry, type PieceIndex } from "@shoal/store";
import { createCrowd, type Participant } from "./crowd.ts";
import { createLeaseBook } from "./lease-book.ts";
import {
  backupPiece,
  isNeedless,
  isStalled,
  longLeases,
  remainingMs,
  type SiteProgress,
  slowEnd,
  tailEnd,
} from "./lease-cuts.ts";
import { guidedShare, nextRange, rampPieces } from "./lease-grants.ts";
import type { Lease } from "./lease.ts";
import { type BlobProgress, LONGEST_SYNC_MS, retryMs } from "./sync-pacing.ts";
import type { PeerIdString } from "./transport.ts";
import { createUpstreamBearing } from "./upstream-bearing.ts";
import type { Sync, SyncReply } from "./wire/messages.ts";

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

/** Of so many others one member may tell, of one blob. */
const MOST_TOLD_OF = 8;

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

/** One blob's coordinator: a directory, a lease office and an introducer. Decisions only, no I/O. */
export interface Coordinator {
  readonly geometry: PieceGeometry;
  readonly idle: boolean;
  /**
   * Takes in a participant's state and decides what it may do. No lease is given while `mayLease` is false.
   * `alone`: the site has no other member, so that a lease may be as long as the blob.
   * `teller`: a member that passes the message on; it may speak for a few others, and for nobody else's.
   * @returns `undefined` for a bitfield that does not fit, and for what the teller may not say
   */
  sync(from: PeerIdString, message: Sync, office: Office, nowMs: number): Decision | undefined;
  /** A member is gone: its leases are free at once, and those of whom it told. */
  memberDown(peer: PeerIdString): void;
}

/** What the coordinator's host knows beside the participants. */
export interface Office {
  readonly holders: ReadonlySet<PeerIdString>;
  readonly mayLease: boolean;
  readonly alone: boolean;
  readonly teller?: PeerIdString | undefined;
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
  const { pieceCount, pieceSizeBytes } = geometry;
  const mostPieces = Math.max(1, Math.floor(settings.maxLeaseBytes / pieceSizeBytes));
  const mostBackups = Math.floor(pieceCount * settings.backupShare);
  const crowd = createCrowd(pieceCount);
  const { participants } = crowd;
  const book = createLeaseBook();
  const bearing = createUpstreamBearing(settings);
  /** How many leases each has had. */
  const granted = new Map<PeerIdString, number>();
  /** Lessees that have to hear that their leases are shorter. */
  const cut = new Set<PeerIdString>();
  let backups = 0;
  let beganMs = 0;
  let epoch = 0;
  let leaseFromMs = 0;

  /** What a member tells of others counts as its own word: it is kept apart from what they and others tell. */
  function maySpeak(teller: PeerIdString, about: PeerIdString): boolean {
    const known = participants.get(about);
    if (known !== undefined) return known.teller === teller;
    return crowd.toldBy(teller).length < MOST_TOLD_OF;
  }

  function admit(
    from: PeerIdString,
    message: Sync,
    teller: PeerIdString | undefined,
    nowMs: number,
  ): Participant | undefined {
    if (teller !== undefined && !maySpeak(teller, from)) return undefined;
    const before = participants.get(from);
    const me = crowd.admit(from, message, teller, nowMs);
    if (me === undefined) return undefined;
    if (epoch === 0) {
      epoch = message.epoch + 1;
      beganMs = nowMs;
      if (message.epoch > 0) leaseFromMs = nowMs + settings.takeoverMs;
    }
    const failed = before?.canFetch === true && !me.canFetch && me.have.count < pieceCount;
    if (failed && !message.leaving) bearing.failed(book.lessees().size, nowMs);
    return me;
  }

  /** Brings this side's leases in line with what the lessee says of them; adopts those of a predecessor. */
  function settle(from: PeerIdString, message: Sync, nowMs: number): void {
    const held = new Map(message.leases.map((lease) => [leaseKey(lease), lease]));
    for (const lease of book.of(from)) {
      const told = held.get(`${epoch}/${lease.id}`);
      if (told === undefined) {
        // It has ended, or the answer that granted it was lost: then it is granted anew.
        end(lease, nowMs);
        continue;
      }
      // A lessee may give back a tail, never take one.
      lease.end = Math.min(lease.end, told.end);
      book.progress(lease, told.done, nowMs);
    }
    for (const told of message.leases) {
      if (told.epoch === epoch || told.end > pieceCount || told.first >= told.end) continue;
      if (book.overlaps(told)) continue;
      const { first, end: toldEnd, done } = told;
      book.enter({ peer: from, first, end: toldEnd, doneBytes: done, backup: false }, nowMs);
    }
  }

  /** The lessee says no more of a lease: what it was for has come, as far as it has. */
  function end(lease: Lease, nowMs: number): void {
    book.strike(lease);
    if (participants.get(lease.peer)?.have.has((lease.end - 1) as PieceIndex) !== true) return;
    book.progress(lease, (lease.end - lease.first) * pieceSizeBytes, nowMs);
    bearing.brought(nowMs);
  }

  function expire(nowMs: number): void {
    for (const lease of book.all())
      if (isStalled(lease, pieceSizeBytes, settings, nowMs)) book.strikeLost(lease);
      else if (isNeedless(lease, pieceSizeBytes, elsewhere(lease.peer))) book.strike(lease);
      else cutSlow(lease, nowMs);
    for (const [peer, participant] of participants)
      if (nowMs - participant.seenMs > 3 * LONGEST_SYNC_MS) remove(peer);
  }

  /** Whether a piece that the lessee lacks can be had from others. */
  function elsewhere(lessee: PeerIdString): (piece: number) => boolean {
    const me = participants.get(lessee);
    if (me === undefined) return () => false;
    return (piece) => !me.have.has(piece as PieceIndex) && crowd.has(piece, me);
  }

  function progressAt(nowMs: number): SiteProgress {
    const leftBytes = (pieceCount - crowd.heldPieces) * pieceSizeBytes;
    return { nowMs, remainingMs: remainingMs(leftBytes, book.siteBytesPerMs) };
  }

  function cutSlow(lease: Lease, nowMs: number): void {
    const sooner = slowEnd(lease, pieceSizeBytes, progressAt(nowMs));
    if (sooner === undefined || crowd.fetchers() < 2) return;
    lease.end = sooner;
    cut.add(lease.peer);
  }

  function remove(peer: PeerIdString): void {
    crowd.remove(peer);
    book.strikeAll(peer);
  }

  /** Pieces that nobody has whom the participant would ask, and nobody is fetching. */
  function openPieces(from: PeerIdString, holders: ReadonlySet<PeerIdString>): Uint8Array {
    const me = participants.get(from)!;
    const open = new Uint8Array(pieceCount);
    if ([...holders].some((peer) => peer !== from && !me.excluded.has(peer))) return open;
    for (let piece = 0; piece < open.length; piece++) open[piece] = crowd.has(piece, me) ? 0 : 1;
    for (const lease of book.all())
      if (!me.excluded.has(lease.peer)) open.fill(0, lease.first, lease.end);
    return open;
  }

  function mostLessees(): number {
    return bearing.mostLessees(book.siteBytesPerMs, pieceSizeBytes);
  }

  function* cursors(): Generator<number> {
    for (const participant of participants.values()) yield* participant.cursors;
  }

  function grant(from: PeerIdString, open: Uint8Array, alone: boolean, nowMs: number): void {
    const lessees = book.lessees();
    const most = mostLessees();
    if (lessees.has(from) || lessees.size >= most) return;
    const limit = alone ? pieceCount : limitFor(from, open, most);
    const range = nextRange(open, cursors(), limit);
    if (range === undefined) {
      backUp(from, nowMs);
      return;
    }
    granted.set(from, (granted.get(from) ?? 0) + 1);
    book.enter({ ...range, peer: from, doneBytes: 0, backup: false }, nowMs);
  }

  /** Others may be about to ask: what has to be taken back from a long lease has partly been sent already. */
  function limitFor(from: PeerIdString, open: Uint8Array, lessees: number): number {
    const unleased = open.reduce((sum, isOpen) => sum + isOpen, 0);
    const share = guidedShare(unleased, Math.min(crowd.fetchers(), lessees), mostPieces);
    const { firstLeaseBytes } = settings;
    const sizes = { firstLeaseBytes, pieceSizeBytes };
    return Math.min(share, rampPieces(granted.get(from) ?? 0, book.paceOf(from), sizes));
  }

  /** A piece whose lessee would keep everybody waiting is leased once more, beside it. */
  function backUp(from: PeerIdString, nowMs: number): void {
    if (backups >= mostBackups) return;
    const me = participants.get(from)!;
    const has = (piece: number): boolean => crowd.has(piece, me);
    const piece = backupPiece(book.all(), pieceSizeBytes, from, has, progressAt(nowMs));
    if (piece === undefined) return;
    backups += 1;
    book.enter({ peer: from, first: piece, end: piece + 1, doneBytes: 0, backup: true }, nowMs);
  }

  /** Into a zone also those may bring pieces who can't ask the upstream, where none of its members can. */
  function mayBring({ canFetch, zone }: Sync): boolean {
    if (canFetch || zone === undefined) return canFetch;
    return ![...participants.values()].some((participant) => participant.canFetch);
  }

  /** Leases long enough that newcomers without one should have of their tails. */
  function leasesToShare(): Lease[] {
    const lessees = book.lessees();
    let waiting = 0;
    for (const [peer, { canFetch, wants }] of participants)
      if (canFetch && wants && !lessees.has(peer)) waiting += 1;
    waiting = Math.min(waiting, mostLessees() - lessees.size);
    return longLeases(book.all(), pieceSizeBytes, waiting);
  }

  function takeBackTails(from: PeerIdString): void {
    for (const lease of leasesToShare())
      if (lease.peer === from)
        lease.end = tailEnd(lease, pieceSizeBytes, crowd.fetchers(), mostPieces);
  }

  function introduce(from: PeerIdString, holders: ReadonlySet<PeerIdString>): PeerIdString[] {
    const excluded = participants.get(from)!.excluded;
    // Who has nothing and can fetch nothing introduces itself: it is named those who have.
    const others = [...participants].filter(
      ([peer, { have, canFetch }]) =>
        peer !== from && !holders.has(peer) && !excluded.has(peer) && (canFetch || have.count > 0),
    );
    return sample(
      others.map(([peer]) => peer),
      settings.neighbours,
      init.random,
    );
  }

  function toldAt(nowMs: number): BlobProgress {
    return {
      heldShare: Math.max(crowd.heldPieces, 1) / pieceCount,
      elapsedMs: nowMs - beganMs,
      participants: participants.size,
    };
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
    sync(from, message, { holders: allHolders, mayLease, alone, teller }, nowMs) {
      const me = admit(from, message, teller, nowMs);
      if (me === undefined) return undefined;
      settle(from, message, nowMs);
      expire(nowMs);
      takeBackTails(from);
      // Carries of a member that can't ask the upstream are for those of its zone that can.
      if (message.zone !== undefined && !mayBring(message)) book.strikeAll(from);
      const leasing = mayLease && nowMs >= leaseFromMs;
      if (leasing && mayBring(message) && message.wants && !message.leaving)
        grant(from, inside(message, openPieces(from, allHolders)), alone, nowMs);
      const reply: SyncReply = {
        type: "synced",
        epoch,
        holders: sample(
          [...allHolders].filter((peer) => peer !== from && !me.excluded.has(peer)),
          settings.neighbours,
          init.random,
        ),
        neighbours: introduce(from, allHolders),
        leases: book.of(from).map(({ id, first, end }) => ({ id, epoch, first, end })),
        participants: participants.size,
        hope: hopeFor(from, allHolders),
        retryMs: leasing
          ? Math.round(retryMs(book.lessees().has(from), toldAt(nowMs), settings))
          : 50,
      };
      const nudge = [...cut.union(new Set(leasesToShare().map((lease) => lease.peer)))].filter(
        (peer) => peer !== from,
      );
      cut.clear();
      if (message.leaving) remove(from);
      return { reply, nudge };
    },
    memberDown(peer) {
      for (const gone of [peer, ...crowd.toldBy(peer)]) remove(gone);
    },
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
