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

const MAX_MEMBERS = 300;
/** A member that was not seen for this long is forgotten. Milliseconds. */
const FORGET_MS = 30 * 24 * 3600 * 1000;

/** Members that were ever admitted, so that a reboot need not wait for mDNS. */
export interface Roster {
  seen(peer: string, addresses: readonly string[]): void;
  list(): { peer: string; addresses: string[] }[];
  all(): { peer: string; addresses: string[]; seenMs: number }[];
  load(): AsyncIterable<{ readonly peer: string; readonly addresses: readonly string[] }>;
  /** Forgets all: this machine belongs to another site now. */
  clear(): Promise<void>;
}

export function createRoster(table: RosterTable | undefined, clock: Clock, logger: Logger): Roster {
  const members = new Map<string, RosterRecord>();

  async function forget(peer: string): Promise<void> {
    members.delete(peer);
    await table?.delete(peer);
  }

  return {
    seen(peer, addresses) {
      if (members.size >= MAX_MEMBERS && !members.has(peer)) return;
      const record = { addresses: [...addresses], seenMs: clock.wallNow() };
      members.set(peer, record);
      table
        ?.put(peer, record)
        .catch((error: unknown) => logger.warn({ error }, "the roster could not be written"));
    },
    list: () => [...members].map(([peer, { addresses }]) => ({ peer, addresses })),
    all: () => [...members].map(([peer, record]) => ({ peer, ...record })),
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
