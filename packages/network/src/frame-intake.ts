import type { CodedError } from "@shoal/runtime";
import { protocolError, unreachable } from "./faults.ts";
import { createFrameInbox, type FrameInbox } from "./frame-inbox.ts";

/** What arrives over one connection or stream, and how it came to its end. */
export interface FrameIntake {
  readonly inbox: FrameInbox;
  /** Aborts at the end, in whichever way it came. */
  readonly signal: AbortSignal;
  /** What it failed with. */
  readonly failure: Error | undefined;
  /** How the peer broke the framing, if it did. */
  readonly fault: CodedError<"ERR_PEER_PROTOCOL"> | undefined;
  /** Cuts what carries the frames; readers get the error. */
  fail(error: Error): void;
  /** The peer has ended it. */
  close(how: string): void;
}

/** `cut` ends what carries the frames. */
export function createFrameIntake(maxBytes: number, cut: (error: Error) => void): FrameIntake {
  let failure: Error | undefined;
  let fault: CodedError<"ERR_PEER_PROTOCOL"> | undefined;
  const over = new AbortController();
  const inbox = createFrameInbox({
    maxBytes,
    onFault(how) {
      fault = protocolError(how);
      fail(fault);
    },
  });

  function fail(error: Error): void {
    failure ??= error;
    cut(error);
    over.abort(error);
    inbox.fail(error);
  }

  return {
    inbox,
    signal: over.signal,
    get failure() {
      return failure;
    },
    get fault() {
      return fault;
    },
    fail,
    close(how) {
      over.abort(unreachable(how));
      inbox.end();
    },
  };
}
