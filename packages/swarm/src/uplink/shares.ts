import type { PeerIdString } from "../transport.ts";

/** What is handed out holds for this long, unless it is asked for again. Milliseconds. */
export const SHARE_TTL_MS = 2000;
/** Of claims that are equal, those that have been served this long go behind the others. Milliseconds. */
const TURN_MS = 2000;

export interface Claim {
  /** What the member could use, what it has included. */
  readonly want: number;
  /** What the member has now, by whomever it was given. */
  readonly holds: number;
}

/** Divides one quantity among members, so that all that is in their hands is never more than there is. */
export interface Shares {
  /**
   * A member asks, or asks again. At first it gets no more than an even part among `members`, since others may
   * be about to ask. @returns its share, for {@link SHARE_TTL_MS}
   */
  claim(
    peer: PeerIdString,
    claim: Claim,
    pool: { readonly total: number; readonly members: number },
    nowMs: number,
  ): number;
  drop(peer: PeerIdString): void;
  /** The membership has changed: others may hold what a predecessor gave them. */
  takeOver(nowMs: number): void;
}

export interface SharesInit {
  /** The least that is worth having. */
  readonly quantum: number;
  /** What is held is in use, and can't be taken back. */
  readonly inUse: boolean;
}

interface Claimant {
  want: number;
  holds: number;
  granted: number;
  untilMs: number;
  /** The oldest goes first where not everybody can have a share. */
  sinceMs: number;
}

/** Max-min fair: who wants less than an even share gets that, the others the rest in even parts. */
export function createShares({ quantum, inUse }: SharesInit): Shares {
  const claimants = new Map<PeerIdString, Claimant>();
  let heldUntilMs = Number.NEGATIVE_INFINITY;

  function targetOf(peer: PeerIdString, total: number): number {
    const targets = new Map<PeerIdString, number>();
    let level = total;
    let left = total;
    let waiting = claimants.size;
    for (const { want } of [...claimants.values()].sort((a, b) => a.want - b.want)) {
      level = left / waiting;
      if (want > level) break;
      left -= want;
      waiting -= 1;
    }
    left = total;
    for (const [other, { want }] of claimants) {
      const amount = want <= level ? want : Math.floor(level / quantum) * quantum;
      targets.set(other, amount);
      left -= amount;
    }
    const oldest = [...claimants].sort(([, a], [, b]) => a.sinceMs - b.sinceMs);
    for (const [other, { want }] of oldest) {
      const amount = targets.get(other)!;
      const more = Math.min(want - amount, quantum, left);
      targets.set(other, amount + more);
      left -= more;
    }
    return targets.get(peer)!;
  }

  return {
    claim(peer, { want, holds }, { total, members }, nowMs) {
      for (const [other, { untilMs }] of claimants) if (untilMs <= nowMs) claimants.delete(other);
      const before = claimants.get(peer);
      if (want <= 0) {
        claimants.delete(peer);
        return 0;
      }
      const served = before !== undefined && before.granted > 0;
      const sinceMs = before?.sinceMs ?? nowMs;
      const mine: Claimant = {
        want,
        holds,
        granted: before?.granted ?? 0,
        untilMs: nowMs + SHARE_TTL_MS,
        sinceMs: served && nowMs - sinceMs > TURN_MS ? nowMs : sinceMs,
      };
      claimants.set(peer, mine);
      let target = targetOf(peer, total);
      if (before === undefined)
        target = Math.min(target, Math.max(quantum, Math.floor(total / members)));
      // The rest may be in the hands of those that have not asked here yet.
      if (nowMs < heldUntilMs) target = Math.min(target, holds);
      if (inUse) target = Math.max(target, Math.min(holds, want));
      let others = 0;
      for (const [other, { granted }] of claimants) if (other !== peer) others += granted;
      mine.granted = Math.max(0, Math.floor(Math.min(target, total - others)));
      return mine.granted;
    },
    drop(peer) {
      claimants.delete(peer);
    },
    takeOver(nowMs) {
      if (claimants.size === 0) heldUntilMs = nowMs + SHARE_TTL_MS;
    },
  };
}
