import { statfs } from "node:fs/promises";
import type { Digest } from "@shoal/oci";
import type { GcItem } from "./gc/plan.ts";
import { withStoreErrors } from "./store-io.ts";

export interface RoomInit {
  readonly directory: string;
  /** Bytes of the file system that stay free. */
  readonly minFreeBytes: number;
  /** What the store may hold at most; infinite for no quota. */
  readonly maxBytes: number;
  /** Of the capacity: above the high mark room is made, down to the low one. */
  readonly highWaterPercent: number;
  readonly lowWaterPercent: number;
  /** Verified blobs, and what is in quarantine, in bytes. */
  readonly heldBytes: () => number;
}

/** How full the store is. Bytes. */
export interface Fill {
  /** Blobs, and the whole of what is arriving. */
  readonly usedBytes: number;
  /** The quota, or what the disk has for the store above the floor, whichever is less. */
  readonly capacityBytes: number;
  readonly highBytes: number;
  readonly lowBytes: number;
  /** Free bytes of the file system. */
  readonly freeBytes: number;
  /** What open ingests still lack. */
  readonly promisedBytes: number;
}

/** An ingest that is open: its size, and how much of that is still to come. */
export interface OpenRoom {
  readonly sizeBytes: number;
  readonly missingBytes: number;
}

/** What the store takes of its disk, and may take. */
export interface Room {
  /** Ingests that are open or being opened. */
  readonly open: Map<Digest, OpenRoom>;
  /** Ingests that nobody has open, by what they take. */
  readonly leftovers: Map<Digest, GcItem>;
  /** Bytes that have arrived of what is not whole yet. */
  ingestBytes(): number;
  /** @returns how it is at the moment of the call's end, when asked */
  measure(): Promise<() => Fill>;
}

export function createRoom(init: RoomInit): Room {
  const { directory, minFreeBytes, maxBytes, highWaterPercent, lowWaterPercent, heldBytes } = init;
  const open = new Map<Digest, OpenRoom>();
  const leftovers = new Map<Digest, GcItem>();

  return {
    open,
    leftovers,
    ingestBytes() {
      let bytes = 0;
      for (const { sizeBytes } of leftovers.values()) bytes += sizeBytes;
      for (const { sizeBytes, missingBytes } of open.values()) bytes += sizeBytes - missingBytes;
      return bytes;
    },
    async measure() {
      const { bavail, bsize } = await withStoreErrors(directory, () => statfs(directory));
      const freeBytes = bavail * bsize;
      return () => {
        let usedBytes = heldBytes();
        let promisedBytes = 0;
        for (const { sizeBytes } of leftovers.values()) usedBytes += sizeBytes;
        for (const { sizeBytes, missingBytes } of open.values()) {
          usedBytes += sizeBytes;
          promisedBytes += missingBytes;
        }
        const diskBytes = usedBytes - promisedBytes + freeBytes - minFreeBytes;
        const capacityBytes = Math.max(0, Math.min(maxBytes, diskBytes));
        const share = (percent: number): number => Math.floor((capacityBytes * percent) / 100);
        const highBytes = share(highWaterPercent);
        const lowBytes = share(lowWaterPercent);
        return { usedBytes, capacityBytes, highBytes, lowBytes, freeBytes, promisedBytes };
      };
    },
  };
}
