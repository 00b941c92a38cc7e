import type { PeerIdString, PeerTransport } from "./transport.ts";

/** The racks of a site: members with one label, and those without a label as one more. */
export interface Zones {
  /** This machine's zone; empty without a label. */
  readonly own: string;
  /** Whether the site has more than one zone now. */
  readonly split: boolean;
  /** Whether the member is in this machine's zone. */
  near(peer: PeerIdString): boolean;
  /** The live members of this machine's zone, without itself. */
  mates(): PeerIdString[];
}

export type ZonedTransport = Pick<PeerTransport, "self" | "members" | "zoneOf">;

export function createZones(transport: ZonedTransport): Zones {
  const labelOf = (peer: PeerIdString): string => transport.zoneOf?.(peer) ?? "";
  const near = (peer: PeerIdString): boolean => labelOf(peer) === labelOf(transport.self);
  return {
    get own() {
      return labelOf(transport.self);
    },
    get split() {
      return transport.zoneOf !== undefined && !transport.members().every(near);
    },
    near,
    mates: () => transport.members().filter(near),
  };
}
