import type { AbortOptions } from "@shoal/runtime";
import type { Allowance } from "./allowance.ts";

/** Requests to one registry, of which this machine may have so many under way as its allowance says. */
export interface RequestSlots {
  /** Requests that are under way or wait. */
  readonly wanted: number;
  readonly inUse: number;
  /** Resolves when one more may begin: at once where nothing limits them. Disposing it gives the slot back. */
  enter(options: AbortOptions): Promise<Disposable>;
}

/** @param limited whether the site limits the requests to this registry now */
export function createRequestSlots(limited: () => boolean, allowance: Allowance): RequestSlots {
  let inUse = 0;
  let waiting = 0;

  async function wait(options: AbortOptions): Promise<void> {
    waiting += 1;
    try {
      while (limited() && inUse >= allowance.amount()) {
        allowance.touch();
        await allowance.changed(options);
      }
    } finally {
      waiting -= 1;
    }
  }

  return {
    get wanted() {
      return inUse + waiting;
    },
    get inUse() {
      return inUse;
    },
    async enter(options) {
      if (limited()) await wait(options);
      inUse += 1;
      let left = false;
      return {
        [Symbol.dispose]() {
          if (left) return;
          left = true;
          inUse -= 1;
          if (limited()) allowance.touch();
        },
      };
    },
  };
}
