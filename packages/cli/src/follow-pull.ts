import { type ApiClient, CodedError, codedError, isFinished, type Pull } from "@shoal/api";
import { EXIT } from "./exit-codes.ts";
import { newlyEnded, pullLines, receivedBytes, summary } from "./pull-view.ts";
import { type RateSample, withSample } from "./rate.ts";
import { createLiveLines, type Terminal } from "./terminal.ts";
import { printable } from "./text.ts";

/** How long an interrupted user waits for the daemon to hear of it. */
const CANCEL_TIMEOUT_MS = 3_000;

export interface FollowPullOptions {
  readonly reference: string;
  readonly platform?: string | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
  /** Leave the pull to the daemon. */
  readonly detach: boolean;
  /** Aborts when the user interrupts. */
  readonly interrupted: AbortSignal;
}

/** Has the daemon pull an image and shows how it goes. An interrupt cancels the pull. @returns the exit code */
export async function followPull(
  client: ApiClient,
  terminal: Terminal,
  options: FollowPullOptions,
): Promise<number> {
  const { reference, platform, json, quiet } = options;
  const begun = await client.startPull({
    reference,
    ...(platform === undefined ? {} : { platform }),
  });
  if (options.detach) {
    terminal.out(json ? `${JSON.stringify(begun)}\n` : `${begun.id}\n`);
    return EXIT.ok;
  }
  const live = terminal.isLive && !json && !quiet ? createLiveLines(terminal) : undefined;
  let last: Pull | undefined;
  let samples: readonly RateSample[] = [];

  function show(pull: Pull): void {
    if (json) terminal.out(`${JSON.stringify(pull)}\n`);
    else if (live !== undefined) {
      const nowMs = terminal.now();
      samples = withSample(samples, { atMs: nowMs, bytes: receivedBytes(pull) });
      // One row is left for the cursor: lines that scrolled away cannot be drawn over.
      live.draw(pullLines({ pull, samples }, terminal.columns, nowMs, terminal.rows - 1));
    } else if (!quiet) for (const line of newlyEnded(last, pull)) terminal.out(`${line}\n`);
    last = pull;
  }

  try {
    for await (const event of client.events({ pull: begun.id }, { signal: options.interrupted })) {
      if (event.type !== "pull") continue;
      show(event.pull);
      if (isFinished(event.pull)) break;
    }
  } catch (error) {
    if (!options.interrupted.aborted) throw error;
    const message = `interrupted: ${await cancelled(client, begun.id)}`;
    terminal.err(
      json
        ? `${JSON.stringify({ error: { code: "ERR_INTERRUPTED", message } })}\n`
        : `${message}\n`,
    );
    return EXIT.interrupted;
  }
  const pull = last !== undefined && isFinished(last) ? last : await client.pull(begun.id);
  if (pull.state === "done") {
    if (!json)
      terminal.out(quiet ? `${pull.digest}\n` : `${terminal.colors.green("✓")} ${summary(pull)}\n`);
    return EXIT.ok;
  }
  if (pull.state === "cancelled" && pull.error === undefined) {
    throw new CodedError(
      "ERR_CANCELLED",
      "the pull was cancelled by somebody else; run it again: what has arrived is kept",
    );
  }
  throw codedError(pull.error ?? { code: "ERR_INTERNAL", message: "the daemon does not say why" });
}

/** Cancels the pull. @returns what became of it, in words */
async function cancelled(client: ApiClient, id: string): Promise<string> {
  try {
    await client.cancelPull(id, { signal: AbortSignal.timeout(CANCEL_TIMEOUT_MS) });
    return "the pull is cancelled; what has arrived is kept for the next one";
  } catch (error) {
    const why = error instanceof Error ? printable(error.message) : "unknown reason";
    return `the daemon could not be told, and may go on; see \`shoal pulls\`. ${why}`;
  }
}
