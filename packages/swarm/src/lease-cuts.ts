import { guidedShare } from "./lease-grants.ts";
import { LEASE_MS, type Lease, positionOf, timeFor } from "./lease.ts";
import type { PeerIdString } from "./transport.ts";

/** A lease is not called slow before it has run for this long. Milliseconds. */
const JUDGED_MS = 2000;
/** So many times the remaining makespan is too long for a lease. */
const TOO_LONG = 2;
/** A lease's piece time is a guess after its first bytes: it allows no longer silence than this. */
const MAX_STALLED_MS = 10_000;
/** A lessee is at least a piece further on by the time it hears that its lease is shorter. */
const KEPT_PIECES = 2;
/** A lease is long when newcomers find so many pieces each behind where it is. */
const LONG_PIECES = 4;

/** What a lease is judged by. */
export interface SiteProgress {
  readonly nowMs: number;
  /** What is left at the site's pace, while others wait for it. Milliseconds. */
  readonly remainingMs: number;
}

/** The time that is left. Milliseconds; a second while the site's pace is not known. */
export function remainingMs(leftBytes: number, bytesPerMs: number | undefined): number {
  return bytesPerMs === undefined || bytesPerMs === 0 ? 1000 : leftBytes / bytesPerMs;
}

/** Whether a lease brings nothing: for the given time, or for three times what its pieces take. */
export function isStalled(
  lease: Lease,
  pieceSizeBytes: number,
  limits: { readonly stalledMs: number; readonly firstByteMs: number },
  nowMs: number,
): boolean {
  const silentMs = nowMs - lease.progressMs;
  if (lease.doneBytes === 0) return silentMs > limits.firstByteMs;
  const pieceMs = ((lease.progressMs - lease.grantedMs) * pieceSizeBytes) / lease.doneBytes;
  return silentMs > Math.min(MAX_STALLED_MS, Math.max(limits.stalledMs, 3 * pieceMs));
}

/** Whether all that is left of a lease has come from elsewhere. */
export function isNeedless(
  lease: Lease,
  pieceSizeBytes: number,
  elsewhere: (piece: number) => boolean,
): boolean {
  const position = positionOf(lease, pieceSizeBytes);
  for (let piece = position; piece < lease.end; piece++) if (!elsewhere(piece)) return false;
  return position < lease.end;
}

/**
 * A lessee that would be at its lease long after all others keeps the piece it is at, and the next.
 * @returns where the lease ends from now on; `undefined` when it may stay as it is
 */
export function slowEnd(
  lease: Lease,
  pieceSizeBytes: number,
  { nowMs, remainingMs: siteMs }: SiteProgress,
): number | undefined {
  // One that brings nothing at all is not slow but lost, after a longer time.
  if (nowMs - lease.grantedMs < JUDGED_MS || lease.pace.bytesPerMs === 0) return undefined;
  const leftBytes = (lease.end - lease.first) * pieceSizeBytes - lease.doneBytes;
  const allowedMs = TOO_LONG * Math.max(LEASE_MS / 4, siteMs);
  const end = positionOf(lease, pieceSizeBytes) + KEPT_PIECES;
  return lease.end > end && timeFor(lease, leftBytes) > allowedMs ? end : undefined;
}

/**
 * The piece whose lessee would keep everybody waiting the longest: it is leased once more, beside it.
 * @param from who would bring it
 * @param has whether somebody has a piece already
 */
export function backupPiece(
  leases: readonly Lease[],
  pieceSizeBytes: number,
  from: PeerIdString,
  has: (piece: number) => boolean,
  { nowMs, remainingMs: siteMs }: SiteProgress,
): number | undefined {
  const backedUp = new Set(leases.filter(({ backup }) => backup).map(({ first }) => first));
  let slowest: number | undefined;
  let slowestMs = TOO_LONG * Math.max(LEASE_MS / 8, siteMs);
  for (const lease of leases) {
    const piece = positionOf(lease, pieceSizeBytes);
    if (lease.peer === from || lease.backup || piece >= lease.end) continue;
    if (nowMs - lease.grantedMs < JUDGED_MS || has(piece) || backedUp.has(piece)) continue;
    const pieceMs = timeFor(lease, pieceSizeBytes);
    if (pieceMs > slowestMs) [slowest, slowestMs] = [piece, pieceMs];
  }
  return slowest;
}

/** Leases long enough that those who wait for one should have of their tails. */
export function longLeases(
  leases: readonly Lease[],
  pieceSizeBytes: number,
  waiting: number,
): Lease[] {
  if (waiting <= 0) return [];
  const most = LONG_PIECES * (waiting + 1);
  return leases.filter((lease) => lease.end - positionOf(lease, pieceSizeBytes) > most);
}

/** Where a long lease ends when its tail is taken back: its lessee keeps a share as if it were given anew. */
export function tailEnd(
  lease: Lease,
  pieceSizeBytes: number,
  among: number,
  mostPieces: number,
): number {
  const position = positionOf(lease, pieceSizeBytes);
  const share = guidedShare(lease.end - position, among, mostPieces);
  return Math.min(lease.end, position + KEPT_PIECES + share);
}
