import type { Clock, Logger } from "@shoal/runtime";
import type { PeerClient } from "../peer-client.ts";
import type { PeerIdString, PeerTransport } from "../transport.ts";
import { createShares, SHARE_TTL_MS, type Shares } from "./shares.ts";

/** The office of the whole line; the others are those of registries. */
export const LINE = "*";
/** How many of the best ranked are tried. */
export const TRIED = 2;
/** Less than this a second is no rate to fetch at: the others wait for their turn. */
const LEAST_BYTES_PER_SECOND = 32 * 1024;
const OFFICE_TIMEOUT_MS = 1000;
/** What is an even part for lack of an office holds for this long. Milliseconds. */
const UNANSWERED_MS = 1000;

/** What was given, and for how long it holds. */
export interface Share {
  readonly amount: number;
  readonly forMs: number;
}

export interface OfficesComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly peers: PeerClient;
  /** Members in the order in which they are to hold an office. */
  readonly ranked: (office: string) => PeerIdString[];
  /** What an office divides; `undefined` without a limit. */
  readonly totalOf: (office: string) => number | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Shares of the site's limits: asking for them, and handing them out where this member holds the office. */
export interface Offices {
  /** This member's share. Where no office answers, it is an even part for a while. */
  ask(office: string, want: number, holds: number): Promise<Share>;
  /** What a member is given by this one. */
  grant(from: PeerIdString, office: string, want: number, holds: number): number;
  memberDown(peer: PeerIdString): void;
}

export function createOffices(components: OfficesComponents): Offices {
  const { transport, peers, ranked, totalOf, clock, logger } = components;
  const { self } = transport;
  const offices = new Map<string, Shares>();
  let lastDownMs = Number.NEGATIVE_INFINITY;

  function grant(from: PeerIdString, office: string, want: number, holds: number): number {
    const total = totalOf(office);
    if (total === undefined) return want;
    let shares = offices.get(office);
    if (shares === undefined) {
      shares =
        office === LINE
          ? createShares({ quantum: LEAST_BYTES_PER_SECOND, inUse: false })
          : createShares({ quantum: 1, inUse: true });
      // Whoever held this office before may have given everything away.
      if (holds > 0 || clock.now() - lastDownMs < SHARE_TTL_MS) shares.takeOver(clock.now());
      offices.set(office, shares);
    }
    const members = transport.members().length + 1;
    return shares.claim(from, { want, holds }, { total, members }, clock.now());
  }

  return {
    async ask(office, want, holds) {
      const total = totalOf(office);
      if (total === undefined) return { amount: want, forMs: SHARE_TTL_MS };
      for (const peer of ranked(office).slice(0, TRIED)) {
        if (peer === self) return { amount: grant(self, office, want, holds), forMs: SHARE_TTL_MS };
        try {
          const question = { type: "uplink", office, want, holds } as const;
          const { amount } = await peers.ask(peer, question, { timeoutMs: OFFICE_TIMEOUT_MS });
          return { amount, forMs: SHARE_TTL_MS };
        } catch (error) {
          logger.debug({ error, peer, office }, "an uplink office does not answer");
        }
      }
      const even = Math.floor(total / (transport.members().length + 1));
      return { amount: Math.min(want, Math.max(1, even)), forMs: UNANSWERED_MS };
    },
    grant,
    memberDown(peer) {
      lastDownMs = clock.now();
      for (const shares of offices.values()) {
        shares.drop(peer);
        shares.takeOver(clock.now());
      }
    },
  };
}
