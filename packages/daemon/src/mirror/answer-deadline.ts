import type { ServerResponse } from "node:http";
import { type Clock, CodedError } from "@shoal/runtime";

/** Engines give up on a server that is silent for 30 s, and count that against the mirror. Milliseconds. */
const ANSWER_WITHIN_MS = 25_000;

/** Aborts what a request waits for when its headers have not gone out in time; a body that flows has no end. */
export function createAnswerDeadline(
  waiting: AbortController,
  response: Pick<ServerResponse, "headersSent">,
  clock: Pick<Clock, "schedule">,
): Disposable {
  return clock.schedule(ANSWER_WITHIN_MS, () => {
    if (response.headersSent) return;
    waiting.abort(
      new CodedError(
        "ERR_MIRROR_TIMEOUT",
        `no answer within ${ANSWER_WITHIN_MS / 1000} s from the registry or the site; check that the registry is reachable from this machine, and pull again`,
      ),
    );
  });
}
