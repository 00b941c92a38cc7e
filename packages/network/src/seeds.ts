import { isIP } from "node:net";
import type { Clock, Logger } from "@shoal/runtime";
import type { Endpoint } from "./addresses.ts";

/** How often a name is looked up again: what it stands for changes, and the system does not tell when. */
const AGAIN_MS = 60_000;
/** While nobody is up, or a name can't be resolved. */
const ALONE_AGAIN_MS = 10_000;
/** Addresses that are taken from one name. */
const MAX_ADDRESSES = 64;

export interface SeedsComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** All addresses of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
}

export interface SeedsInit {
  /** Addresses and names of the configuration. */
  readonly configured: readonly Endpoint[];
  /** Whether nobody is up. */
  readonly isAlone: () => boolean;
  /** An address that is configured, or that a name stands for from now on. */
  readonly onAddress: (endpoint: Endpoint) => void;
  /** No name stands for it any more. */
  readonly onGone: (endpoint: Endpoint) => void;
}

/**
 * Follows the configured addresses and names until it is disposed. Each address of a name is one of its own: a
 * name may stand for many members, or for all, this machine among them.
 */
export function followSeeds(components: SeedsComponents, init: SeedsInit): Disposable {
  const { clock, logger, resolve } = components;
  const numeric = init.configured.filter(({ host }) => isIP(host) !== 0);
  const names = init.configured.filter(({ host }) => isIP(host) === 0);
  /** By the name with its port. */
  const known = new Map<Endpoint, readonly string[]>();
  let timer: Disposable | undefined;
  let stopped = false;

  function isKept(host: string, port: number): boolean {
    return (
      numeric.some((each) => each.host === host && each.port === port) ||
      [...known].some(([name, hosts]) => name.port === port && hosts.includes(host))
    );
  }

  /** @returns whether the name stands for anything */
  async function follow(name: Endpoint): Promise<boolean> {
    const { host, port } = name;
    try {
      const found = (await resolve(host)).slice(0, MAX_ADDRESSES);
      if (stopped) return true;
      const before = known.get(name) ?? [];
      known.set(name, found);
      for (const each of found) init.onAddress({ host: each, port });
      for (const each of before) if (!isKept(each, port)) init.onGone({ host: each, port });
      return found.length > 0;
    } catch (error) {
      logger.debug({ error, host }, "a configured peer's name could not be resolved");
      return false;
    }
  }

  /** One after the other: a name server that is silent holds a thread that the disk needs too. */
  async function followAll(): Promise<void> {
    let isComplete = true;
    for (const name of names) isComplete = (await follow(name)) && isComplete;
    if (stopped) return;
    const delayMs = isComplete && !init.isAlone() ? AGAIN_MS : ALONE_AGAIN_MS;
    timer = clock.schedule(delayMs, () => void followAll());
  }

  for (const endpoint of numeric) init.onAddress(endpoint);
  if (names.length > 0) void followAll();
  return {
    [Symbol.dispose]() {
      stopped = true;
      timer?.[Symbol.dispose]();
    },
  };
}
