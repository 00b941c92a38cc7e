import type { Lease } from "./lease.ts";
import { createPace, type Pace } from "./pace.ts";
import type { PeerIdString } from "./transport.ts";

/** What is leased to whom of one blob, and how fast it comes. */
export interface LeaseBook {
  all(): Lease[];
  of(peer: PeerIdString): Lease[];
  lessees(): ReadonlySet<PeerIdString>;
  /** Whether any of the pieces is leased. */
  overlaps(range: { readonly first: number; readonly end: number }): boolean;
  enter(
    lease: Pick<Lease, "peer" | "first" | "end" | "doneBytes" | "backup">,
    nowMs: number,
  ): Lease;
  /** The lessee has brought so much of it by now. */
  progress(lease: Lease, doneBytes: number, nowMs: number): void;
  strike(lease: Lease): void;
  /** The lessee brings nothing: its next lease is of one piece. */
  strikeLost(lease: Lease): void;
  strikeAll(peer: PeerIdString): void;
  /** The member's pace at its last lease, and that of all together; `undefined` while nothing is known. */
  paceOf(peer: PeerIdString): number | undefined;
  readonly siteBytesPerMs: number | undefined;
}

export function createLeaseBook(): LeaseBook {
  const leases = new Map<number, Lease>();
  const paces = new Map<PeerIdString, number>();
  let sitePace: Pace | undefined;
  let lastId = 0;

  function of(peer: PeerIdString): Lease[] {
    return [...leases.values()].filter((lease) => lease.peer === peer);
  }

  function strike(lease: Lease): void {
    leases.delete(lease.id);
  }

  return {
    all: () => [...leases.values()],
    of,
    lessees: () => new Set([...leases.values()].map(({ peer }) => peer)),
    overlaps({ first, end }) {
      for (const lease of leases.values()) if (first < lease.end && lease.first < end) return true;
      return false;
    },
    enter(entry, nowMs) {
      lastId += 1;
      const lease: Lease = {
        ...entry,
        id: lastId,
        grantedMs: nowMs,
        progressMs: nowMs,
        pace: createPace(nowMs),
      };
      leases.set(lease.id, lease);
      return lease;
    },
    progress(lease, doneBytes, nowMs) {
      const bytes = Math.max(0, doneBytes - lease.doneBytes);
      lease.pace.add(bytes, nowMs);
      sitePace ??= createPace(lease.grantedMs);
      sitePace.add(bytes, nowMs);
      if (bytes === 0) return;
      lease.doneBytes = doneBytes;
      lease.progressMs = nowMs;
      const mean = doneBytes / Math.max(1, nowMs - lease.grantedMs);
      paces.set(lease.peer, lease.pace.bytesPerMs ?? mean);
    },
    strike,
    strikeLost(lease) {
      strike(lease);
      paces.set(lease.peer, 0);
    },
    strikeAll(peer) {
      for (const lease of of(peer)) strike(lease);
    },
    paceOf: (peer) => paces.get(peer),
    get siteBytesPerMs() {
      return sitePace?.bytesPerMs;
    },
  };
}
