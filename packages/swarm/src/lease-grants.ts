import { LEASE_MS } from "./lease.ts";

/**
 * Where the next lease goes: to where a client waits, the first such piece if there are several, else to the
 * first piece that is open, and on from there as long as pieces are open.
 * @param open 1 for each piece that may be leased
 * @param urgent pieces that clients wait for
 * @returns `undefined` when nothing is open
 */
export function nextRange(
  open: Uint8Array,
  urgent: Iterable<number>,
  mostPieces: number,
): { readonly first: number; readonly end: number } | undefined {
  let first = open.length;
  for (const piece of urgent) if (open[piece] === 1 && piece < first) first = piece;
  if (first === open.length) first = open.indexOf(1);
  if (first === -1) return undefined;
  let end = first;
  while (end < open.length && open[end] === 1 && end - first < mostPieces) end += 1;
  return { first, end };
}

/** Guided self-scheduling (Polychronopoulos and Kuck 1987): half of an even share of what is left, in pieces. */
export function guidedShare(pieces: number, among: number, mostPieces: number): number {
  const share = Math.floor(pieces / (among === 1 ? 1 : 2 * among));
  return Math.max(1, Math.min(mostPieces, share));
}

/**
 * How many pieces a member is trusted with: twice as many each time, and no more than it brings in time.
 * @param before leases that it has had
 * @param bytesPerMs its pace; `undefined` while nothing is known of it
 */
export function rampPieces(
  before: number,
  bytesPerMs: number | undefined,
  sizes: { readonly firstLeaseBytes: number; readonly pieceSizeBytes: number },
): number {
  const ramp = sizes.firstLeaseBytes * 2 ** Math.min(16, before);
  const bytes = Math.min(ramp, (bytesPerMs ?? Number.POSITIVE_INFINITY) * LEASE_MS);
  return Math.max(1, Math.floor(bytes / sizes.pieceSizeBytes));
}
