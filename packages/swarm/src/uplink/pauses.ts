import type { RegistryHost } from "@shoal/oci";
import type { PeerIdString } from "../transport.ts";

/** Why a registry is left alone: it has asked for it, or several members can't reach it. */
export type PauseCause = "limited" | "failing";

export interface Pause {
  readonly leftMs: number;
  readonly cause: PauseCause;
}

/** No registry is taken at its word for longer: Docker Hub counts over six hours. Milliseconds. */
export const MAX_PAUSE_MS = 6 * 3_600_000;
/** Failures this far apart have nothing to do with each other. Milliseconds. */
const FAILING_MS = 10_000;
const FIRST_FAILING_PAUSE_MS = 500;
const LONGEST_FAILING_PAUSE_MS = 5000;
/** A pause that ends this much later than the one known is no news. Milliseconds. */
const SLACK_MS = 250;

/** Which registries are to be left alone, and what members have told their office of it. */
export interface Pauses {
  of(registry: RegistryHost, nowMs: number): Pause | undefined;
  /** @returns whether it was news */
  begin(registry: RegistryHost, forMs: number, cause: PauseCause, nowMs: number): boolean;
  /**
   * A member could not reach the registry. One alone may have a trouble of its own: half of the site, two to
   * four members, have to say so within 10 s. @returns the length of the pause that begins now
   */
  failing(
    registry: RegistryHost,
    from: PeerIdString,
    members: number,
    nowMs: number,
  ): number | undefined;
  list(nowMs: number): readonly (Pause & { readonly registry: RegistryHost })[];
}

export function createPauses(): Pauses {
  const until = new Map<RegistryHost, { untilMs: number; cause: PauseCause }>();
  const failures = new Map<RegistryHost, Map<PeerIdString, number>>();
  const rounds = new Map<RegistryHost, { count: number; lastMs: number }>();

  function of(registry: RegistryHost, nowMs: number): Pause | undefined {
    const pause = until.get(registry);
    if (pause === undefined) return undefined;
    if (pause.untilMs > nowMs) return { leftMs: pause.untilMs - nowMs, cause: pause.cause };
    until.delete(registry);
    return undefined;
  }

  return {
    of,
    begin(registry, forMs, cause, nowMs) {
      const untilMs = nowMs + Math.min(forMs, MAX_PAUSE_MS);
      if (untilMs <= (until.get(registry)?.untilMs ?? nowMs) + SLACK_MS) return false;
      until.set(registry, { untilMs, cause });
      return true;
    },
    failing(registry, from, members, nowMs) {
      const told = failures.get(registry) ?? new Map<PeerIdString, number>();
      failures.set(registry, told);
      told.set(from, nowMs);
      for (const [peer, atMs] of told) if (nowMs - atMs > FAILING_MS) told.delete(peer);
      if (told.size < Math.max(2, Math.min(4, Math.ceil(members / 2)))) return undefined;
      failures.delete(registry);
      const last = rounds.get(registry);
      const count = last === undefined || nowMs - last.lastMs > 60_000 ? 0 : last.count + 1;
      rounds.set(registry, { count, lastMs: nowMs });
      return Math.min(LONGEST_FAILING_PAUSE_MS, FIRST_FAILING_PAUSE_MS * 2 ** count);
    },
    list: (nowMs) =>
      [...until.keys()].flatMap((registry) => {
        const pause = of(registry, nowMs);
        return pause === undefined ? [] : { registry, ...pause };
      }),
  };
}
