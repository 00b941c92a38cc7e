import type { ByteRange } from "@shoal/store";

/** The end of every body is held back until the digest has matched. */
const HELD_BACK_BYTES = 64 * 1024;

/** The first byte of a body that is shown only when the blob is verified. */
export function heldBackFrom(sizeBytes: number): number {
  return Math.max(0, sizeBytes - HELD_BACK_BYTES);
}

/** Bytes on their way to a client, of which the last ones wait until the blob is verified. */
export interface HeldBack {
  /** What was given out to be shown. */
  readonly shownBytes: number;
  /** @returns what may be shown now */
  add(bytes: Uint8Array): Uint8Array[];
  /** From now on all waits. */
  holdAll(): void;
  /** The blob is verified. @returns what is left */
  release(): Uint8Array[];
}

/** @param heldBytes how many of the last bytes wait. @default 64 KiB */
export function createHeldBack(heldBytes = HELD_BACK_BYTES): HeldBack {
  const held: Uint8Array[] = [];
  let waitingBytes = 0;
  let shownBytes = 0;
  let holdsAll = false;
  return {
    get shownBytes() {
      return shownBytes;
    },
    add(bytes) {
      if (bytes.length > 0) held.push(bytes);
      waitingBytes += bytes.length;
      const shown: Uint8Array[] = [];
      while (!holdsAll && held.length > 0 && waitingBytes - held[0]!.length >= heldBytes) {
        const next = held.shift()!;
        waitingBytes -= next.length;
        shownBytes += next.length;
        shown.push(next);
      }
      return shown;
    },
    holdAll() {
      holdsAll = true;
    },
    release() {
      return held.splice(0);
    },
  };
}

/** Of bytes that begin at `at` of a blob those within the range. */
export function within(bytes: Uint8Array, at: number, range: ByteRange): Uint8Array {
  const from = Math.min(bytes.length, Math.max(0, range.start - at));
  return bytes.subarray(from, Math.max(from, Math.min(bytes.length, range.end - at)));
}
