/**
 * The engine: the members of a site find out together what a tag names and move blobs so that each crosses
 * the uplink about once. It knows no network: whoever embeds it hands in a {@link PeerTransport}.
 *
 * ```ts
 * await using swarm = await createSwarm({ transport, store, upstream, clock, random, logger, metrics });
 * const { digest } = await swarm.resolve(repository, tag);
 * await using blob = await swarm.open({ digest, repository });
 * for await (const chunk of blob.stream()) response.write(chunk);
 * ```
 *
 * @packageDocumentation
 */
export { createSwarm, type SwarmComponents, type SwarmInit } from "./swarm.ts";
export { createNotary, type Notary, promisedHash } from "./attestation.ts";
export type { FalseBlob, MemberConduct } from "./conduct.ts";
export type { ResolverSettings } from "./resolver.ts";
export type {
  AnswerOptions,
  FrameHandler,
  Lane,
  MembershipEvents,
  PeerIdString,
  PeerTransport,
} from "./transport.ts";
export type {
  BlobRequest,
  OpenBlob,
  Resolution,
  ResolveOptions,
  Swarm,
  SwarmLimits,
  SwarmLimitsChange,
  TransferProgress,
} from "./types.ts";
export type { Privacy } from "./origins.ts";
export { rank } from "./rendezvous.ts";
export {
  decodeBlock,
  decodeReply,
  decodeRequest,
  encodeBlock,
  encodeBlockReply,
  encodeReply,
  encodeRequest,
} from "./wire/codec.ts";
export { type ControlReply, type ControlRequest, WIRE_VERSION } from "./wire/messages.ts";
