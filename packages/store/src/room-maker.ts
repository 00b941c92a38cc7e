import type { Clock, Logger } from "@shoal/runtime";
import { storeFull } from "./failures.ts";
import type { Collector } from "./gc/collector.ts";
import type { StoreHealth } from "./health.ts";
import type { StoreMetrics } from "./metrics.ts";
import type { Quarantine } from "./quarantine.ts";
import type { Fill, Room } from "./room.ts";

/** How often it is looked whether the store is over its high mark. Milliseconds. */
const LOOK_MS = 60_000;
/** Each so many looks, what has been of no use for a day goes as well. */
const LOOKS_A_CYCLE = 60;

/** Who has less left has no room. Bytes. */
const ROOM_BYTES = 64 * 1024 * 1024;

export interface RoomMakerComponents {
  readonly room: Room;
  readonly collector: Collector;
  readonly quarantine: Pick<Quarantine, "bytes" | "clear" | "look">;
  /** Hears of what fits and what does not. */
  readonly health: Pick<StoreHealth, "failed" | "fitted">;
  readonly metrics: Pick<StoreMetrics, "usedBytes" | "capacityBytes">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Keeps the store below its high mark, and makes room for what comes. */
export interface RoomMaker extends Disposable {
  start(): void;
  /**
   * Makes room where it has to. @param promise takes the room, in the tick in which it was found
   * @throws ERR_STORE_FULL when so many bytes do not fit beside those that are promised already
   */
  reserve(neededBytes: number, promise?: () => void): Promise<void>;
  fill(): Promise<Fill>;
  /** What has to go so that the store holds so many bytes, by default those of its low mark. */
  excess(targetBytes?: number, dryRun?: boolean): Promise<number>;
}

export function createRoomMaker(components: RoomMakerComponents): RoomMaker {
  const { room, collector, quarantine, health, metrics, clock, logger } = components;
  let nextLook: Disposable | undefined;

  function lookLater(looks: number): void {
    nextLook = clock.schedule(LOOK_MS, () => {
      lookLater(looks + 1);
      look(looks % LOOKS_A_CYCLE === 0).catch((error: unknown) =>
        logger.warn({ error }, "the store could not make room"),
      );
    });
  }

  async function look(isCycle: boolean): Promise<void> {
    if (isCycle) await quarantine.look(clock.wallNow());
    const { usedBytes, highBytes } = await fill();
    const isOver = usedBytes > highBytes;
    if (isCycle || isOver)
      await collector.collect({ goal: async () => (isOver ? await excess() : 0) });
  }

  /** What the store holds beyond `targetBytes`, or its low mark. What rotted goes first of all. */
  async function excess(targetBytes?: number, dryRun = false): Promise<number> {
    const { usedBytes, lowBytes } = await fill();
    const overBytes = usedBytes - (targetBytes ?? lowBytes);
    if (overBytes <= 0 || quarantine.bytes === 0) return overBytes;
    if (dryRun) return overBytes - quarantine.bytes;
    await quarantine.clear();
    return await excess(targetBytes);
  }

  async function fill(): Promise<Fill> {
    const now = (await room.measure())();
    metrics.usedBytes.set(now.usedBytes);
    metrics.capacityBytes.set(now.capacityBytes);
    return now;
  }

  return {
    start: () => lookLater(0),
    async reserve(neededBytes, promise) {
      for (let tried = false; ; tried = true) {
        const now = (await room.measure())();
        const leftBytes = now.capacityBytes - now.usedBytes;
        if (neededBytes <= leftBytes) {
          // In the same tick, so that two that begin at once are not promised the same room.
          promise?.();
          health.fitted(neededBytes);
          return;
        }
        // What rotted is kept for whoever looks into it, not at the cost of what is wanted.
        if (quarantine.bytes > 0) {
          await quarantine.clear();
          continue;
        }
        // One pull must not cost the machine all that it has.
        const isTooMuch = now.promisedBytes + neededBytes > now.capacityBytes / 2;
        if (tried || isTooMuch) {
          const refusal = storeFull(neededBytes, Math.max(0, leftBytes));
          // A store with room is not full since it does not take what is too large for it.
          if (leftBytes < Math.min(ROOM_BYTES, now.capacityBytes / 20) || !isTooMuch)
            health.failed(refusal);
          throw refusal;
        }
        const goalBytes = Math.max(
          neededBytes - leftBytes,
          now.usedBytes + neededBytes - now.lowBytes,
        );
        await collector.collect({ goal: async () => goalBytes });
      }
    },
    fill,
    excess,
    [Symbol.dispose]() {
      nextLook?.[Symbol.dispose]();
    },
  };
}
