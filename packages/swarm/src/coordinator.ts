import {
  type Bitfield,
  bitfieldFromBytes,
  type PieceGeometry,
  pieceGeometry,
  type ReadonlyBitfield,
} from "@shoal/store";
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
};

/** A lease's piece time is a guess after its first bytes: it allows no longer silence than this. */
const MAX_STALLED_MS = 10_000;

interface Participant {
  canFetch: boolean;
  wants: boolean;
  have: Bitfield;
  excluded: ReadonlySet<PeerIdString>;
  seenMs: number;
}

interface Lease {
  readonly id: number;
  readonly peer: PeerIdString;
  readonly first: number;
  end: number;
  doneBytes: number;
  readonly grantedMs: number;
  progressMs: number;
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
  const participants = new Map<PeerIdString, Participant>();
  const leases = new Map<number, Lease>();
  const granted = new Map<PeerIdString, number>();
  let epoch = 0;
  let leaseFromMs = 0;
  let lastLeaseId = 0;

  function admit(from: PeerIdString, message: Sync, have: Bitfield, nowMs: number): void {
    if (epoch === 0) {
      epoch = message.epoch + 1;
      if (message.epoch > 0) leaseFromMs = nowMs + settings.takeoverMs;
    }
    participants.set(from, {
      canFetch: message.canFetch,
      wants: message.wants,
      have,
      excluded: new Set(message.excluded),
      seenMs: nowMs,
    });
  }

  /** Brings this side's leases in line with what the lessee says of them; adopts those of a predecessor. */
  function settle(from: PeerIdString, message: Sync, nowMs: number): void {
    const held = new Map(message.leases.map((lease) => [leaseKey(lease), lease]));
    for (const lease of leases.values()) {
      if (lease.peer !== from) continue;
      const told = held.get(`${epoch}/${lease.id}`);
      if (told === undefined) {
        // It has ended, or the answer that granted it was lost: then it is granted anew.
        leases.delete(lease.id);
        continue;
      }
      // A lessee may give back a tail, never take one.
      lease.end = Math.min(lease.end, told.end);
      if (told.done > lease.doneBytes) {
        lease.doneBytes = told.done;
        lease.progressMs = nowMs;
      }
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
      });
    }
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
      if (nowMs - lease.progressMs > allowedMs) leases.delete(lease.id);
    }
    for (const [peer, participant] of participants)
      if (nowMs - participant.seenMs > 30_000) remove(peer);
  }

  function remove(peer: PeerIdString): void {
    participants.delete(peer);
    for (const lease of leases.values()) if (lease.peer === peer) leases.delete(lease.id);
  }

  /** Pieces that nobody has whom `participant` would ask, and nobody is fetching. */
  function openPieces(self: PeerIdString, holders: ReadonlySet<PeerIdString>): boolean[] {
    const me = participants.get(self)!;
    const trusted = [...holders].some((peer) => peer !== self && !me.excluded.has(peer));
    const open: boolean[] = Array.from({ length: geometry.pieceCount }, () => !trusted);
    if (trusted) return open;
    const close = (have: ReadonlyBitfield): void => {
      for (const piece of have) open[piece] = false;
    };
    for (const [peer, participant] of participants)
      if (!me.excluded.has(peer)) close(participant.have);
    for (const lease of leases.values())
      if (!me.excluded.has(lease.peer)) open.fill(false, lease.first, lease.end);
    return open;
  }

  function lessees(): number {
    return new Set([...leases.values()].map((lease) => lease.peer)).size;
  }

  function grant(
    from: PeerIdString,
    open: readonly boolean[],
    alone: boolean,
    nowMs: number,
  ): Lease | undefined {
    const unleased = open.reduce((sum, isOpen) => sum + (isOpen ? 1 : 0), 0);
    const first = open.indexOf(true);
    if (first === -1) return undefined;
    const fetchers = [...participants.values()].filter(({ canFetch }) => canFetch).length;
    const mine = [...leases.values()].some((lease) => lease.peer === from);
    if (mine || lessees() >= settings.maxLessees) return undefined;
    // Others may be about to ask: what has to be taken back from a long lease has partly been sent already.
    const limit = alone
      ? geometry.pieceCount
      : Math.min(shareOf(unleased, Math.min(fetchers, settings.maxLessees)), rampOf(from));
    granted.set(from, (granted.get(from) ?? 0) + 1);
    let end = first;
    while (end < geometry.pieceCount && open[end] === true && end - first < limit) end += 1;
    lastLeaseId += 1;
    const lease: Lease = {
      id: lastLeaseId,
      peer: from,
      first,
      end,
      doneBytes: 0,
      grantedMs: nowMs,
      progressMs: nowMs,
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
    const bytes = settings.firstLeaseBytes * 2 ** Math.min(16, granted.get(from) ?? 0);
    return Math.max(1, Math.floor(bytes / geometry.pieceSizeBytes));
  }

  /** The piece that a lease is at. */
  function position(lease: Lease): number {
    return lease.first + Math.floor(lease.doneBytes / geometry.pieceSizeBytes);
  }

  /** Leases long enough that newcomers without one should have of their tails. */
  function longLeases(): Lease[] {
    const waiting = [...participants].filter(
      ([peer, { canFetch, wants }]) =>
        canFetch && wants && ![...leases.values()].some((lease) => lease.peer === peer),
    ).length;
    if (waiting === 0) return [];
    return [...leases.values()].filter((lease) => lease.end - position(lease) > 4 * (waiting + 1));
  }

  function takeBackTails(from: PeerIdString): void {
    const long = longLeases();
    for (const lease of long) {
      if (lease.peer !== from) continue;
      const left = lease.end - position(lease);
      const fetchers = [...participants.values()].filter(({ canFetch }) => canFetch).length;
      // The lessee is at least a piece further on by the time it hears of it.
      lease.end = Math.min(lease.end, position(lease) + 2 + shareOf(left, fetchers));
    }
  }

  function introduce(from: PeerIdString, holders: ReadonlySet<PeerIdString>): PeerIdString[] {
    const excluded = participants.get(from)!.excluded;
    const others = [...participants.keys()].filter(
      (peer) => peer !== from && !holders.has(peer) && !excluded.has(peer),
    );
    shuffle(others, init.random);
    return others.slice(0, settings.neighbours);
  }

  function hopeFor(from: PeerIdString, holders: ReadonlySet<PeerIdString>): boolean {
    const me = participants.get(from)!;
    if ([...holders].some((peer) => peer !== from && !me.excluded.has(peer))) return true;
    for (const [peer, other] of participants) {
      if (peer === from || me.excluded.has(peer)) continue;
      if (other.canFetch) return true;
      for (const piece of other.have) if (!me.have.has(piece)) return true;
    }
    return false;
  }

  return {
    geometry,
    get idle() {
      return participants.size === 0;
    },
    sync(from, message, { holders: allHolders, mayLease, alone }, nowMs) {
      const have = bitfieldFromBytes(geometry.pieceCount, message.have);
      if (have === undefined) return undefined;
      admit(from, message, have, nowMs);
      settle(from, message, nowMs);
      expire(nowMs);
      const me = participants.get(from)!;
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
        retryMs: leasing ? settings.syncMs : 50,
      };
      const nudge = [...new Set(longLeases().map((lease) => lease.peer))].filter((p) => p !== from);
      if (message.leaving) remove(from);
      return { reply, nudge };
    },
    memberDown: remove,
  };
}

/** Of the open pieces those that the participant has a use for. */
function inside({ within }: Sync, open: readonly boolean[]): readonly boolean[] {
  if (within === undefined) return open;
  return open.map(
    (isOpen, piece) => isOpen && within.some(([first, end]) => piece >= first && piece < end),
  );
}

function leaseKey(lease: { readonly epoch: number; readonly id: number }): string {
  return `${lease.epoch}/${lease.id}`;
}

/** Fisher and Yates, in place. */
function shuffle(items: unknown[], random: () => number): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
}
