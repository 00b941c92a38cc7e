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
  readonly key: string;
  peer: PeerIdString | undefined;
  source: PeerSource;
  /** The peer's own word once it was admitted, and what is configured. */
  proven: readonly Endpoint[];
  /** Anybody's word, the latest first. */
  heard: readonly Endpoint[];
  admitted: boolean;
  failures: number;
  nextMs: number;
  /** When it was last dialled, or first heard of: known members' turns go by it. */
  turnMs: number;
  dialling: boolean;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;
const MAX_CANDIDATES = 1000;
const MAX_ENDPOINTS = 8;
/** Sightings cost nothing to forge: one that was never admitted is forgotten after so many failures. */
const MAX_SIGHTING_FAILURES = 3;
/** One dial in so many is a stranger's first, so that members that are down never shut newcomers out. */
const STRANGERS_TURN = 4;

/** Whom to dial, and when. Decisions only. */
export interface Candidates {
  /**
   * Somebody was heard of. A sighting makes a peer that is not connected due again.
   * @param proven whether it is the admitted peer's own word, or was at some time
   */
  heard(candidate: Candidate, nowMs: number, proven?: boolean): void;
  /** Takes up to `limit` candidates that are due; each is dialled until `dialled` is called. */
  due(isMember: (peer: PeerIdString) => boolean, nowMs: number, limit: number): Candidate[];
  /** @param peer who answered, when one did */
  dialled(key: string, peer: PeerIdString | undefined, nowMs: number): void;
  /** The peer's connection was lost: it is dialled again at once. */
  lost(peer: PeerIdString, nowMs: number): void;
  /** It is dialled no more. */
  forget(key: string): void;
  endpointsOf(peer: PeerIdString): readonly Endpoint[];
  sourceOf(peer: PeerIdString): PeerSource | undefined;
}

export function createCandidates(random: () => number): Candidates {
  const entries = new Map<string, Entry>();
  let dials = 0;

  function retryMs(failures: number): number {
    const backOff = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
    // Spread, so that a site that was rebooted at once does not dial in step.
    return backOff * (0.75 + random() / 2);
  }

  function entryOf(peer: PeerIdString): Entry | undefined {
    for (const entry of entries.values()) if (entry.peer === peer) return entry;
    return undefined;
  }

  /**
   * Room for one more, at the cost of any stranger: which one is chance, so that no flood can aim at one.
   * Without strangers it is the member that has failed most.
   */
  function makeRoom(): boolean {
    if (entries.size < MAX_CANDIDATES) return true;
    const idle = [...entries.values()].filter(({ dialling }) => !dialling);
    const strangers = idle.filter((entry) => !isTrusted(entry));
    const [lost] = idle
      .filter(({ source, failures }) => source !== "static" && failures > 0)
      .sort((a, b) => b.failures - a.failures);
    const unlucky = strangers[Math.floor(random() * strangers.length)] ?? lost;
    return unlucky !== undefined && entries.delete(unlucky.key);
  }

  /** Of known members whose turn it is; of strangers any, since a flood of new names would own every queue. */
  function next(ready: readonly Entry[]): Entry | undefined {
    const known = ready.filter(isTrusted);
    const strangers = ready.filter((entry) => !isTrusted(entry));
    const strangersTurn = dials % STRANGERS_TURN === STRANGERS_TURN - 1;
    if (known.length === 0 || (strangersTurn && strangers.length > 0))
      return strangers[Math.floor(random() * strangers.length)];
    return known.reduce((first, entry) => (entry.turnMs < first.turnMs ? entry : first));
  }

  return {
    heard({ key, peer, source, endpoints }, nowMs, proven = source === "static") {
      if (endpoints.length === 0) return;
      let entry = entries.get(key);
      if (entry === undefined) {
        if (!makeRoom() && source !== "static") return;
        entry = {
          key,
          peer,
          source,
          proven: [],
          heard: [],
          admitted: false,
          failures: 0,
          nextMs: nowMs,
          turnMs: nowMs,
          dialling: false,
        };
        entries.set(key, entry);
      }
      if (proven) {
        entry.proven = endpoints.slice(0, MAX_ENDPOINTS);
        entry.admitted ||= source !== "static";
      } else {
        entry.heard = union(endpoints, entry.heard);
      }
      if (entry.source !== "static") entry.source = source;
      if (source === "mdns") entry.nextMs = Math.min(entry.nextMs, nowMs + LONGEST_RETRY_MS / 3);
    },
    due(isMember, nowMs, limit) {
      const ready = new Set(
        [...entries.values()].filter(
          ({ dialling, nextMs, peer }) =>
            !dialling && nextMs <= nowMs && (peer === undefined || !isMember(peer)),
        ),
      );
      const taken: Candidate[] = [];
      while (taken.length < limit) {
        const entry = next([...ready]);
        if (entry === undefined) break;
        ready.delete(entry);
        dials += 1;
        entry.dialling = true;
        entry.turnMs = nowMs;
        const { key, peer, source } = entry;
        taken.push({ key, peer, source, endpoints: endpointsToDial(entry) });
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
        const forgotten = entry.source === "mdns" && entry.failures >= MAX_SIGHTING_FAILURES;
        if (forgotten && !isTrusted(entry)) entries.delete(key);
      } else {
        entry.peer = peer;
        entry.admitted = true;
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
    forget: (key) => void entries.delete(key),
    endpointsOf(peer) {
      const entry = entryOf(peer);
      return entry === undefined ? [] : union(entry.proven, entry.heard);
    },
    sourceOf: (peer) => entryOf(peer)?.source,
  };
}

function isTrusted({ source, admitted }: Entry): boolean {
  return source === "static" || admitted;
}

/** In turn, so that addresses somebody made up never take the time of the peer's own. */
function endpointsToDial({ proven, heard, failures }: Entry): readonly Endpoint[] {
  const [first, second] = failures % 2 === 0 ? [proven, heard] : [heard, proven];
  return first.length > 0 ? first : second;
}

function union(first: readonly Endpoint[], second: readonly Endpoint[]): readonly Endpoint[] {
  const all = [...first, ...second];
  return all
    .filter(
      ({ host, port }, index) =>
        all.findIndex((other) => other.host === host && other.port === port) === index,
    )
    .slice(0, MAX_ENDPOINTS);
}
