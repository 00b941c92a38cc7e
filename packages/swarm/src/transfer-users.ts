import type { Clock } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import { transferEnded } from "./arrival.ts";
import type { TransferLife } from "./transfer-life.ts";

/** A reader that comes back within this time finds its transfer running. Milliseconds. */
const LINGER_MS = 1000;
/** What has arrived is shared this long after the last reader left. Milliseconds. */
const SHARE_MS = 60_000;

/** One reader or waiter of a transfer. */
export interface TransferUser extends Disposable {
  /** The piece that the reader is at, to be fetched first. */
  cursor: PieceIndex | undefined;
}

/** Those who wait for a blob. When the last one has left, its transfer winds down. */
export interface TransferUsers extends Disposable {
  join(): TransferUser;
  /** The pieces that readers are at. */
  cursors(): Iterable<PieceIndex>;
}

export interface TransferUsersComponents {
  readonly life: TransferLife;
  /** Nobody has come back: nothing more is to be fetched. */
  readonly onDeserted: () => void;
  readonly clock: Clock;
}

export function createTransferUsers(components: TransferUsersComponents): TransferUsers {
  const { life, onDeserted, clock } = components;
  const users = new Set<TransferUser>();
  let timer: Disposable | undefined;

  function leaveSoon(): void {
    if (life.state !== "arriving" || users.size > 0) return;
    timer?.[Symbol.dispose]();
    timer = clock.schedule(LINGER_MS, () => {
      if (!life.fetching || users.size > 0) return;
      life.wind();
      onDeserted();
      timer = clock.schedule(SHARE_MS, () => life.fail(transferEnded()));
    });
  }

  return {
    join() {
      const user: TransferUser = {
        cursor: undefined,
        [Symbol.dispose]() {
          if (users.delete(user)) leaveSoon();
        },
      };
      users.add(user);
      return user;
    },
    *cursors() {
      for (const { cursor } of users) if (cursor !== undefined) yield cursor;
    },
    [Symbol.dispose]() {
      timer?.[Symbol.dispose]();
    },
  };
}
