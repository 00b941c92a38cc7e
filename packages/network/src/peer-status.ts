import type { PeerIdString } from "@shoal/swarm";
import { endpointOf, formatEndpoint } from "./addresses.ts";
import type { PeerSource } from "./candidates.ts";
import type { Finder } from "./finder.ts";
import type { Membership } from "./membership.ts";
import type { Roster } from "./roster.ts";

/** A peer as status shows it. */
export interface PeerStatus {
  readonly id: PeerIdString;
  readonly state: "up" | "down";
  readonly addresses: readonly string[];
  /** TCP port of its bulk lane, once a key to it was asked for. */
  readonly bulkPort?: number | undefined;
  readonly source: PeerSource;
  /** Wall-clock milliseconds. */
  readonly lastSeenMs: number;
}

/** All that were ever admitted, and those that are up now. */
export function peerStatuses(known: {
  readonly roster: Pick<Roster, "list">;
  readonly membership: Pick<Membership, "peers" | "has" | "lanes">;
  readonly finder: Pick<Finder, "endpointsOf" | "sourceOf"> | undefined;
  readonly wallNowMs: number;
}): PeerStatus[] {
  const { roster, membership, finder, wallNowMs } = known;
  const listed = roster.list();
  const noted = new Set(listed.map(({ peer }) => peer));
  const unnoted = membership.peers.filter((peer) => !noted.has(peer));
  return [...listed, ...unnoted.map((peer) => ({ peer, addresses: [], seenMs: wallNowMs }))].map(
    ({ peer, addresses, seenMs }) => {
      const id = peer as PeerIdString;
      const endpoints = addresses.flatMap((address) => endpointOf(address) ?? []);
      return {
        id,
        state: membership.has(id) ? "up" : "down",
        addresses: (endpoints.length > 0 ? endpoints : (finder?.endpointsOf(id) ?? [])).map(
          formatEndpoint,
        ),
        bulkPort: membership.lanes(id)?.bulkPort,
        source: finder?.sourceOf(id) ?? "inbound",
        lastSeenMs: seenMs,
      };
    },
  );
}
