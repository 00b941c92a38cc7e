import type { Clock } from "@shoal/runtime";
import type { PeerIdString } from "../transport.ts";
import type { LimitsMessage, SetLimits, UplinkLimits } from "../wire/messages.ts";

/** A change of limits: what is absent stays, `null` takes a limit away. */
export type LimitsChange = {
  readonly [Name in keyof UplinkLimits]?: UplinkLimits[Name] | null;
};

/** The limits of the site as this member knows them. */
export interface SiteLimits {
  /** What holds now: what was set last, else the lowest that any live member was configured with. */
  current(): UplinkLimits;
  /** What was set last at run time, anywhere in the site. */
  readonly set: SetLimits | undefined;
  /** Sets limits for the whole site. */
  change(change: LimitsChange): void;
  /** Takes in what a member knows. @returns whether it was news */
  hear(from: PeerIdString, message: LimitsMessage): boolean;
  forget(peer: PeerIdString): void;
  /** What others have to be told, `undefined` when there is nothing. */
  tell(): LimitsMessage | undefined;
}

export function createSiteLimits(
  self: PeerIdString,
  configured: UplinkLimits,
  clock: Pick<Clock, "wallNow">,
): SiteLimits {
  const others = new Map<PeerIdString, UplinkLimits>();
  let set: SetLimits | undefined;

  function lowest(name: keyof UplinkLimits): number | undefined {
    const known = [configured, ...others.values()].flatMap((limits) => limits[name] ?? []);
    return known.length === 0 ? undefined : Math.min(...known);
  }

  function current(): UplinkLimits {
    if (set !== undefined) return limitsOf(set.bytesPerSecond, set.connections);
    return limitsOf(lowest("bytesPerSecond"), lowest("connections"));
  }

  return {
    current,
    get set() {
      return set;
    },
    change({ bytesPerSecond, connections }) {
      const now = current();
      const next = limitsOf(
        bytesPerSecond === undefined ? now.bytesPerSecond : (bytesPerSecond ?? undefined),
        connections === undefined ? now.connections : (connections ?? undefined),
      );
      // Whoever's clock is behind must still be able to change what another has set.
      const setAtMs = Math.max(Math.floor(clock.wallNow()), (set?.setAtMs ?? 0) + 1);
      set = { ...next, setAtMs, by: self };
    },
    hear(from, message) {
      others.set(from, message.configured);
      const theirs = message.set;
      if (theirs === undefined || !isNewer(theirs, set)) return false;
      set = theirs;
      return true;
    },
    forget(peer) {
      others.delete(peer);
    },
    tell() {
      if (set === undefined && Object.keys(configured).length === 0) return undefined;
      return { type: "limits", configured, ...(set === undefined ? {} : { set }) };
    },
  };
}

function isNewer(a: SetLimits, b: SetLimits | undefined): boolean {
  if (b === undefined || a.setAtMs !== b.setAtMs) return a.setAtMs > (b?.setAtMs ?? -1);
  return a.by > b.by;
}

function limitsOf(bytesPerSecond?: number, connections?: number): UplinkLimits {
  return {
    ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
    ...(connections === undefined ? {} : { connections }),
  };
}
