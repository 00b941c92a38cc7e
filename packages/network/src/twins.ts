import type { Clock, Logger } from "@shoal/runtime";
import { type Endpoint, formatEndpoint } from "./addresses.ts";

/** An address that answers as this machine is looked at this often. */
const CHECK_MS = 60_000;
/** Two that hear of each other look at a moment of their own each, or each would take the other's call for an echo. */
const SPREAD_MS = 5000;
const REMIND_MS = 3600 * 1000;
/** Without a sign of it for so long the other is gone, or is somebody else now. */
const FORGET_MS = 10 * 60_000;
/** A call that this machine made to itself arrives within this. */
const ECHO_MS = 500;
const MAX_ADDRESSES = 16;

/** Another machine with this machine's identity. */
export interface Twin {
  /** `host` or `host:port`. */
  readonly address: string;
  /** Wall-clock milliseconds. */
  readonly seenMs: number;
}

export interface TwinsComponents {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

export interface TwinsInit {
  /** Whether an address is one of this machine's, whatever interface it is on. */
  readonly isOwn: (host: string) => boolean;
  /** Calls there. @returns whether who answers has proved to hold this machine's key */
  readonly holdsOwnKey: (endpoint: Endpoint) => Promise<boolean>;
}

/**
 * Finds out whether another machine holds this machine's key, as it does when a disk was cloned with its machine
 * id: to all others the two are one member that forgets what it has said. Only a handshake counts; what is said of
 * addresses costs one call a minute.
 */
export interface Twins {
  /** Somebody says that this machine is to be met there. */
  heardOf(endpoints: readonly Endpoint[]): void;
  /** Somebody who holds this machine's key has called from there. */
  calledFrom(host: string): void;
  /** While this runs the machine may call itself, by a way that it does not know for its own. */
  calling<T>(work: () => Promise<T>): Promise<T>;
  /** The last one seen, unless that is long ago. */
  current(): Twin | undefined;
}

export function createTwins({ clock, random, logger }: TwinsComponents, init: TwinsInit): Twins {
  const checkedMs = new Map<string, number>();
  let found: (Twin & { readonly foundMs: number }) | undefined;
  let remindedMs = Number.NEGATIVE_INFINITY;
  let underWay = 0;
  let calledMs = Number.NEGATIVE_INFINITY;

  function note(address: string): void {
    const foundMs = clock.now();
    found = { address, seenMs: clock.wallNow(), foundMs };
    if (foundMs - remindedMs < REMIND_MS) return;
    remindedMs = foundMs;
    logger.error(
      { address },
      "another machine has this machine's identity, as a cloned disk has; on one of the two stop Shoal, remove identity.json from its state folder, give it a machine id of its own (rm /etc/machine-id; systemd-machine-id-setup), and start Shoal",
    );
  }

  async function pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    clock.schedule(ms, resolve);
    await promise;
  }

  async function calling<T>(work: () => Promise<T>): Promise<T> {
    underWay += 1;
    try {
      return await work();
    } finally {
      clock.schedule(ECHO_MS, () => {
        underWay -= 1;
      });
    }
  }

  async function check(endpoint: Endpoint): Promise<void> {
    await pause(random() * SPREAD_MS);
    const startMs = clock.now();
    if (!(await calling(async () => await init.holdsOwnKey(endpoint)))) return;
    // A way round to this machine itself, through a router, say, ends here as a call.
    await pause(ECHO_MS);
    const key = formatEndpoint(endpoint);
    if (calledMs < startMs) note(key);
    else checkedMs.delete(key);
  }

  function isDue(key: string): boolean {
    const nowMs = clock.now();
    for (const [known, ms] of checkedMs) if (nowMs - ms >= CHECK_MS) checkedMs.delete(known);
    return !checkedMs.has(key) && checkedMs.size < MAX_ADDRESSES;
  }

  return {
    heardOf(endpoints) {
      // One call: the others are, as a rule, further addresses of whoever it is.
      const endpoint = endpoints.find(({ host }) => !init.isOwn(host));
      if (endpoint === undefined) return;
      const key = formatEndpoint(endpoint);
      if (!isDue(key)) return;
      checkedMs.set(key, clock.now());
      check(endpoint).catch((error: unknown) =>
        logger.debug({ error }, "who was said to be this machine did not answer"),
      );
    },
    calledFrom(host) {
      calledMs = clock.now();
      if (underWay === 0 && !init.isOwn(host)) note(host);
    },
    calling,
    current: () =>
      found === undefined || clock.now() - found.foundMs > FORGET_MS
        ? undefined
        : { address: found.address, seenMs: found.seenMs },
  };
}
