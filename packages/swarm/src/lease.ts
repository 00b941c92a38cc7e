import type { Pace } from "./pace.ts";
import type { PeerIdString } from "./transport.ts";

/** A lease should last no longer than this at its lessee's pace. Milliseconds. */
export const LEASE_MS = 4000;

/** The right and duty of one member to bring a range of pieces, from its first on. */
export interface Lease {
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

/** The piece that a lease is at. */
export function positionOf(lease: Lease, pieceSizeBytes: number): number {
  return lease.first + Math.floor(lease.doneBytes / pieceSizeBytes);
}

/** How long its lessee needs for so many bytes, as fast as it is. Milliseconds; 0 while nothing is known. */
export function timeFor(lease: Lease, bytes: number): number {
  return bytes / Math.max(1e-6, lease.pace.bytesPerMs ?? Number.POSITIVE_INFINITY);
}
