import type { Clock, Logger } from "@shoal/runtime";
import * as z from "zod";

const RecordSchema = z.object({
  addresses: z.array(z.string().max(256)).max(16),
  /** Wall-clock milliseconds. */
  seenMs: z.number(),
});
/** A member as it is kept over a restart. */
export type RosterRecord = z.infer<typeof RecordSchema>;

/** The part of a store's table that the roster needs. */
export interface RosterTable {
  put(key: string, value: RosterRecord): Promise<void>;
  delete(key: string): Promise<void>;
  entries(): AsyncIterable<readonly [string, RosterRecord]>;
}

/** A member of the roster. */
export interface RosterEntry extends Readonly<RosterRecord> {
  readonly peer: string;
}

export interface RosterComponents {
  /** @default nowhere */
  readonly table: RosterTable | undefined;
  readonly isUp: (peer: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MAX_MEMBERS = 300;
/** A member that was not seen for this long is forgotten. Milliseconds. */
const FORGET_MS = 30 * 24 * 3600 * 1000;

/** Members that were ever admitted, so that a reboot need not wait for mDNS. */
export interface Roster {
  /** A member was admitted. In a full roster it takes the place of the one that is down and was seen longest ago. */
  seen(peer: string, addresses: readonly string[]): void;
  /** A member that is known was there just now. */
  touch(peer: string): void;
  /** All, the last seen first; those that are up are seen now. */
  list(): readonly RosterEntry[];
  load(): AsyncIterable<{ readonly peer: string; readonly addresses: readonly string[] }>;
  /** Forgets all: this machine belongs to another site now. */
  clear(): Promise<void>;
}

export function createRoster({ table, isUp, clock, logger }: RosterComponents): Roster {
  const members = new Map<string, RosterRecord>();

  async function forget(peer: string): Promise<void> {
    members.delete(peer);
    await table?.delete(peer);
  }

  function failed(error: unknown): void {
    logger.warn({ error }, "the roster could not be written");
  }

  function keep(peer: string, addresses: readonly string[]): void {
    const record = { addresses: [...addresses], seenMs: clock.wallNow() };
    members.set(peer, record);
    table?.put(peer, record).catch(failed);
  }

  function makeRoom(): boolean {
    if (members.size < MAX_MEMBERS) return true;
    const [oldest] = [...members]
      .filter(([peer]) => !isUp(peer))
      .sort(([, a], [, b]) => a.seenMs - b.seenMs);
    if (oldest === undefined) return false;
    forget(oldest[0]).catch(failed);
    return true;
  }

  return {
    seen(peer, addresses) {
      if (members.has(peer) || makeRoom()) keep(peer, addresses);
    },
    touch(peer) {
      const known = members.get(peer);
      if (known !== undefined) keep(peer, known.addresses);
    },
    list() {
      const nowMs = clock.wallNow();
      return [...members]
        .map(([peer, { addresses, seenMs }]) => ({
          peer,
          addresses,
          seenMs: isUp(peer) ? nowMs : seenMs,
        }))
        .sort((a, b) => b.seenMs - a.seenMs);
    },
    async *load() {
      for await (const [peer, value] of table?.entries() ?? []) {
        const parsed = RecordSchema.safeParse(value);
        if (!parsed.success || clock.wallNow() - parsed.data.seenMs > FORGET_MS) {
          await forget(peer);
          continue;
        }
        members.set(peer, parsed.data);
        yield { peer, addresses: parsed.data.addresses };
      }
    },
    async clear() {
      for (const peer of Array.from(members.keys())) await forget(peer);
    },
  };
}
