import { type Clock, CodedError, limitTime } from "@shoal/runtime";
import type { PeerIdString, PeerTransport } from "./transport.ts";
import { decodeBlockReply, decodeReply, encodeBlock, encodeRequest } from "./wire/codec.ts";
import type { Block, BlockHead, ControlReply, ControlRequest } from "./wire/messages.ts";

/** The reply that belongs to each request. */
interface ReplyTypes {
  readonly sync: "synced";
  readonly interest: "interested";
  readonly stat: "stats";
  readonly keeping: "kept";
  readonly resolve: "resolved";
  readonly have: "done";
  readonly announce: "done";
  readonly nudge: "done";
  readonly keep: "done";
  readonly accuse: "accused";
  readonly uplink: "uplinked";
  readonly pause: "done";
  readonly limits: "done";
}

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  /** @default 2000 */
  readonly timeoutMs?: number;
}

/** Typed questions to members. */
export interface PeerClient {
  /**
   * @throws ERR_PEER_UNREACHABLE, ERR_PEER_REFUSED, ERR_MESSAGE, ERR_PEER_PROTOCOL, or the signal's reason;
   * a TimeoutError when the time is up
   */
  ask<Request extends ControlRequest>(
    peer: PeerIdString,
    request: Request,
    options?: AskOptions,
  ): Promise<Extract<ControlReply, { type: ReplyTypes[Request["type"]] }>>;
  /** Blocks will be asked of the member soon. */
  prepare(peer: PeerIdString): void;
  block(
    peer: PeerIdString,
    block: Block,
    options: AskOptions,
  ): Promise<{ readonly head: BlockHead; readonly bytes: Uint8Array }>;
}

const REPLIES: ReplyTypes = {
  sync: "synced",
  interest: "interested",
  stat: "stats",
  keeping: "kept",
  resolve: "resolved",
  have: "done",
  announce: "done",
  nudge: "done",
  keep: "done",
  accuse: "accused",
  uplink: "uplinked",
  pause: "done",
  limits: "done",
};

export function createPeerClient(
  transport: Pick<PeerTransport, "request" | "prepare">,
  clock: Clock,
): PeerClient {
  return {
    prepare: (peer) => transport.prepare?.(peer),
    async ask(peer, request, options = {}) {
      using limit = limitTime(clock, options.timeoutMs ?? 2000, options.signal);
      const { signal } = limit;
      const reply = decodeReply(
        await transport.request(peer, "control", encodeRequest(request), { signal }),
      );
      if (reply.type === "refused")
        throw new CodedError("ERR_PEER_REFUSED", `a member refused a ${request.type} message`, {
          details: { peer, code: reply.code },
        });
      if (reply.type !== REPLIES[request.type])
        throw new CodedError("ERR_MESSAGE", `a member answered ${request.type} with ${reply.type}`);
      // The check above is what this type says.
      return reply as never;
    },
    async block(peer, block, options) {
      using limit = limitTime(clock, options.timeoutMs ?? 10_000, options.signal);
      const { signal } = limit;
      return decodeBlockReply(
        await transport.request(peer, "bulk", encodeBlock(block), { signal }),
      );
    },
  };
}
