import { LONGEST_SYNC_MS } from "./sync-pacing.ts";
import type { PeerIdString } from "./transport.ts";

/** Registrations that one member may have with this machine at a time, and pieces of all their blobs together. */
const MOST = { registrations: 1000, pieces: 4 * 1024 * 1024 };
/** A participant that says nothing for this long is forgotten by its coordinator. Milliseconds. */
const FORGOTTEN_MS = 3 * LONGEST_SYNC_MS;

/** Holds each member to what it can want at a time: every registration costs memory, by the pieces of its blob. */
export interface SyncBudget {
  /** Counts a registration, known by its key, or one more message of it. @returns whether there is room for it */
  take(peer: PeerIdString, key: string, pieceCount: number, nowMs: number): boolean;
  leave(peer: PeerIdString, key: string): void;
  forget(peer: PeerIdString): void;
}

export function createSyncBudget(most = MOST): SyncBudget {
  interface Registration {
    readonly pieceCount: number;
    readonly seenMs: number;
  }
  const byPeer = new Map<PeerIdString, Map<string, Registration>>();

  return {
    take(peer, key, pieceCount, nowMs) {
      const mine = byPeer.get(peer) ?? new Map<string, Registration>();
      byPeer.set(peer, mine);
      // In the order in which they were last heard of.
      mine.delete(key);
      for (const [other, { seenMs }] of mine) {
        if (nowMs - seenMs <= FORGOTTEN_MS) break;
        mine.delete(other);
      }
      let pieces = pieceCount;
      for (const other of mine.values()) pieces += other.pieceCount;
      if (mine.size >= most.registrations || pieces > most.pieces) return false;
      mine.set(key, { pieceCount, seenMs: nowMs });
      return true;
    },
    leave(peer, key) {
      byPeer.get(peer)?.delete(key);
    },
    forget(peer) {
      byPeer.delete(peer);
    },
  };
}
