import type { BlobInfo } from "@shoal/store";
import { transferEnded } from "./arrival.ts";

/** `winding`: nobody waits for the blob any more; what has arrived is still given to members. */
export type TransferState = "arriving" | "winding" | "committed" | "failed";

/** Where a transfer is between its first piece and its end. */
export interface TransferLife {
  readonly state: TransferState;
  /** What ended it, when failed. */
  readonly failure: unknown;
  /** Whether it has come to its end, in either way. */
  readonly over: boolean;
  /** Whether pieces are wanted: it is arriving, and no commit is under way. */
  readonly fetching: boolean;
  /** The commit that is under way, or was the last. */
  readonly committing: Promise<void> | undefined;
  /** Settles when the blob is committed or cannot be had. */
  readonly finished: Promise<BlobInfo>;
  /** All pieces are here. Does nothing while a commit is under way. */
  commit(work: () => Promise<void>): void;
  /** The commit has found pieces to be wrong: they are fetched again. */
  resume(): void;
  wind(): void;
  /** Does nothing once it is over. */
  succeed(info: BlobInfo): void;
  /** Does nothing once it is over. @param error what ended it, or `undefined` for nobody's interest */
  fail(error: unknown): void;
}

/** Calls `onOver` once, at the end. */
export function createTransferLife(onOver: (failure: unknown) => void): TransferLife {
  const outcome = Promise.withResolvers<BlobInfo>();
  outcome.promise.catch(() => undefined);
  let state: TransferState = "arriving";
  let failure: unknown;
  let committing: Promise<void> | undefined;
  const isOver = (): boolean => state === "committed" || state === "failed";
  return {
    get state() {
      return state;
    },
    get failure() {
      return failure;
    },
    get over() {
      return isOver();
    },
    get fetching() {
      return state === "arriving" && committing === undefined;
    },
    get committing() {
      return committing;
    },
    finished: outcome.promise,
    commit(work) {
      committing ??= work();
    },
    resume() {
      committing = undefined;
    },
    wind() {
      state = "winding";
    },
    succeed(info) {
      if (isOver()) return;
      state = "committed";
      outcome.resolve(info);
      onOver(undefined);
    },
    fail(error) {
      if (isOver()) return;
      state = "failed";
      failure = error ?? transferEnded();
      outcome.reject(failure);
      onOver(failure);
    },
  };
}
