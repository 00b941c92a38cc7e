/** What participants may ask in all, so that a crowd does not drown its coordinator. */
const SYNCS = 2000;
/** A participant without a lease asks again after this at the latest. Milliseconds. */
export const LONGEST_SYNC_MS = 20_000;

/** How far a blob has come in a site. */
export interface BlobProgress {
  /** Share of its pieces that anybody has. */
  readonly heldShare: number;
  readonly elapsedMs: number;
  readonly participants: number;
}

/** When to ask again: who fetches tells of its progress, others have little to say. Milliseconds. */
export function retryMs(
  isLessee: boolean,
  { heldShare, elapsedMs, participants }: BlobProgress,
  limits: { readonly syncMs: number; readonly stalledMs: number },
): number {
  const makespanMs = elapsedMs / heldShare;
  if (isLessee) return Math.max(limits.syncMs, Math.min(limits.stalledMs / 2, makespanMs / 50));
  const shared = (participants * Math.max(makespanMs, 2 * SYNCS)) / SYNCS;
  return Math.max(limits.syncMs, Math.min(LONGEST_SYNC_MS, shared));
}
