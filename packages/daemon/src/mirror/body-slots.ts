import { CodedError } from "@shoal/runtime";

/** Of clients that take nothing each holds a chunk of 1 MiB in memory. */
const MOST_BODIES = 300;
/** With more than these under way, no second chunk is read ahead for any. */
const MOST_AHEAD = 32;

/** A body that may be sent; disposing makes room for another. */
export interface BodySlot extends Disposable {
  /** Whether its next chunk may be read while the last one goes out. */
  mayReadAhead(): boolean;
}

/** Bounds what the bodies of all clients hold in memory. */
export interface BodySlots {
  /** @throws ERR_MIRROR_BUSY with 300 of them under way */
  take(): BodySlot;
}

export function createBodySlots(): BodySlots {
  let taken = 0;
  return {
    take() {
      if (taken >= MOST_BODIES)
        throw new CodedError(
          "ERR_MIRROR_BUSY",
          `${MOST_BODIES} blobs are being sent at once; pull again in a while, and look for a client that takes nothing of what it has asked for`,
        );
      taken += 1;
      let open = true;
      return {
        mayReadAhead: () => taken <= MOST_AHEAD,
        [Symbol.dispose]() {
          if (open) taken -= 1;
          open = false;
        },
      };
    },
  };
}
