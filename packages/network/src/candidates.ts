import type { PeerIdString } from "@shoal/swarm";
import type { Endpoint } from "./addresses.ts";

/** How a peer was heard of. */
export type PeerSource = "mdns" | "static" | "roster" | "inbound";

/** Somebody to dial, in this order of what is known: a peer with addresses, or an address alone. */
export interface Candidate {
  readonly key: string;
  readonly peer: PeerIdString | undefined;
  readonly source: PeerSource;
  readonly endpoints: readonly Endpoint[];
}

interface Entry {
  peer: PeerIdString | undefined;
  source: PeerSource;
  endpoints: readonly Endpoint[];
  failures: number;
  nextMs: number;
  dialling: boolean;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;
const MAX_CANDIDATES = 1000;

/** Whom to dial, and when. Decisions only. */
export interface Candidates {
  /** Somebody was heard of. A sighting makes a peer that is not connected due again. */
  heard(candidate: Candidate, nowMs: number): void;
  /** Takes up to `limit` candidates that are due; each is dialled until `dialled` is called. */
  due(isMember: (peer: PeerIdString) => boolean, nowMs: number, limit: number): Candidate[];
  /** @param peer who answered, when one did */
  dialled(key: string, peer: PeerIdString | undefined, nowMs: number): void;
  /** The peer's connection was lost: it is dialled again at once. */
  lost(peer: PeerIdString, nowMs: number): void;
  endpointsOf(peer: PeerIdString): readonly Endpoint[];
  sourceOf(peer: PeerIdString): PeerSource | undefined;
}

export function createCandidates(random: () => number): Candidates {
  const entries = new Map<string, Entry>();

  function retryMs(failures: number): number {
    const backOff = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
    // Spread, so that a site that was rebooted at once does not dial in step.
    return backOff * (0.75 + random() / 2);
  }

  function entryOf(peer: PeerIdString): Entry | undefined {
    for (const entry of entries.values()) if (entry.peer === peer) return entry;
    return undefined;
  }

  return {
    heard({ key, peer, source, endpoints }, nowMs) {
      if (endpoints.length === 0) return;
      const known = entries.get(key);
      if (known === undefined) {
        if (entries.size >= MAX_CANDIDATES && source !== "static") return;
        entries.set(key, { peer, source, endpoints, failures: 0, nextMs: nowMs, dialling: false });
        return;
      }
      known.endpoints = endpoints;
      if (known.source !== "static") known.source = source;
      if (source === "mdns") known.nextMs = Math.min(known.nextMs, nowMs + LONGEST_RETRY_MS / 3);
    },
    due(isMember, nowMs, limit) {
      const taken: Candidate[] = [];
      for (const [key, entry] of entries) {
        if (taken.length >= limit) break;
        if (entry.dialling || entry.nextMs > nowMs) continue;
        if (entry.peer !== undefined && isMember(entry.peer)) continue;
        entry.dialling = true;
        const { peer, source, endpoints } = entry;
        taken.push({ key, peer, source, endpoints });
      }
      return taken;
    },
    dialled(key, peer, nowMs) {
      const entry = entries.get(key);
      if (entry === undefined) return;
      entry.dialling = false;
      if (peer === undefined) {
        entry.failures += 1;
        entry.nextMs = nowMs + retryMs(entry.failures);
      } else {
        entry.peer = peer;
        entry.failures = 0;
        entry.nextMs = nowMs + FIRST_RETRY_MS;
      }
    },
    lost(peer, nowMs) {
      const entry = entryOf(peer);
      if (entry === undefined) return;
      entry.failures = 0;
      entry.nextMs = nowMs + 100;
    },
    endpointsOf: (peer) => entryOf(peer)?.endpoints ?? [],
    sourceOf: (peer) => entryOf(peer)?.source,
  };
}
