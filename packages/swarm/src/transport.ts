import type { AbortOptions } from "@shoal/runtime";

/** A member's libp2p peer id in text form, made only by the network from an authenticated connection or a key. */
export type PeerIdString = string & { readonly __brand: "PeerIdString" };

/**
 * Two lanes a peer, so that bulk never delays control: `control` frames are at most 256 KiB each way,
 * `bulk` answers at most 1 MiB and a header.
 */
export type Lane = "control" | "bulk";

export interface AnswerOptions {
  /** Aborts when the peer has given up the request. */
  readonly signal: AbortSignal;
  /**
   * Calls back once the answer has been handed to the link, or nobody wants it any more; `free` says that nothing
   * uses the memory of its parts any more.
   */
  readonly afterSent: (callback: (free: boolean) => void) => void;
}

/** Answers a peer's request. The parts are sent one after another as one frame. */
export type FrameHandler = (
  peer: PeerIdString,
  lane: Lane,
  frame: Uint8Array,
  options: AnswerOptions,
) => Promise<readonly Uint8Array[]>;

export interface MembershipEvents {
  /** A peer was admitted and can be asked. */
  readonly memberUp: [PeerIdString];
  /** A member is out of reach. */
  readonly memberDown: [PeerIdString];
}

/**
 * What the engine needs of the network. Everybody in `members` has been admitted to the site;
 * the engine never sees anybody else. The simulator has one of its own.
 */
export interface PeerTransport {
  readonly self: PeerIdString;
  /** The site's public name, the same for all its members; empty for a machine without a site. */
  readonly site: string;
  /** Live, admitted members, without self. */
  members(): readonly PeerIdString[];
  /** The zone label of a live member or of self. @default no zones */
  zoneOf?(peer: PeerIdString): string | undefined;
  /**
   * Sends one frame and resolves with the peer's answer.
   * @throws ERR_PEER_UNREACHABLE when the peer is not a live member, cannot be reached or goes away,
   * ERR_PEER_PROTOCOL when it breaks the framing or its limits, and the signal's reason.
   */
  request(
    peer: PeerIdString,
    lane: Lane,
    frame: Uint8Array,
    options?: AbortOptions,
  ): Promise<Uint8Array>;
  /** Bulk requests to the member are to be expected: their way may be made ready. @default nothing */
  prepare?(peer: PeerIdString): void;
  /** Sets who answers; before that, requests wait. */
  handle(handler: FrameHandler): void;
  on<Type extends keyof MembershipEvents>(
    type: Type,
    listener: (...args: MembershipEvents[Type]) => void,
  ): Disposable;
  /** Signs with this member's identity key (Ed25519). */
  sign(message: Uint8Array): Promise<Uint8Array>;
  /** Whether `signature` is `peer`'s over `message`; the key is in the peer id itself. */
  verify(peer: PeerIdString, message: Uint8Array, signature: Uint8Array): Promise<boolean>;
}
