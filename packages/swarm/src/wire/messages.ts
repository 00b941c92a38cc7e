import * as z from "zod";
import { AccusedSchema, AccuseSchema, AttestationSchema } from "./attestations.ts";
import { bitfield, blob, count, digest, peer, repository, size } from "./fields.ts";
import { KeepSchema, ResolveReplySchema, ResolveSchema } from "./resolutions.ts";
import { SyncReplySchema, SyncSchema } from "./sync.ts";
import { LimitsSchema, PauseSchema, UplinkReplySchema, UplinkSchema } from "./uplink.ts";

export type { Accuse, Attestation } from "./attestations.ts";
export type { SignedRecord } from "./resolutions.ts";
export type { Sync, SyncReply, WireLease } from "./sync.ts";
export type { LimitsMessage, PauseMessage, SetLimits, UplinkLimits } from "./uplink.ts";

/** The version that every frame begins with. */
export const WIRE_VERSION = 1;

/** Exchanges bitfields; from then on each tells the other what arrives. */
const InterestSchema = z.strictObject({ type: z.literal("interest"), ...blob, have: bitfield });
const InterestReplySchema = z.strictObject({ type: z.literal("interested"), have: bitfield });

/** Pieces that have arrived since the last such message. */
const HaveSchema = z.strictObject({
  type: z.literal("have"),
  ...blob,
  pieces: z.array(count).max(16_384),
});

/** Whole blobs that the sender has or no longer has, told to the coordinators of their digests. */
const AnnounceSchema = z.strictObject({
  type: z.literal("announce"),
  held: z.array(z.tuple([digest, size])).max(2_000),
  gone: z.array(digest).max(2_000),
  /** Nothing is left to tell the receiver for now. */
  complete: z.boolean(),
});

/** Asks what a member knows of a digest without a size. */
const StatSchema = z.strictObject({ type: z.literal("stat"), digest, repository });
const StatReplySchema = z.strictObject({ type: z.literal("stats"), size: size.optional() });

/** Asks which of these blobs the receiver has and is not about to remove: the sender may remove its own. */
const KeepingSchema = z.strictObject({
  type: z.literal("keeping"),
  digests: z.array(digest).max(1_000),
});
const KeepingReplySchema = z.strictObject({
  type: z.literal("kept"),
  /** Their places in the question. */
  kept: z.array(count).max(1_000),
});

/** The coordinator has something to say to a participant: it syncs at once. */
const NudgeSchema = z.strictObject({ type: z.literal("nudge"), digest, size });

/** Asks for bytes of a blob on the bulk lane: at most 1 MiB, not across pieces. */
export const BlockSchema = z.strictObject({
  type: z.literal("block"),
  ...blob,
  offset: count,
  length: z
    .number()
    .int()
    .positive()
    .max(1024 * 1024),
});
export type Block = z.infer<typeof BlockSchema>;

/** Goes before the bytes of a block. */
export const BlockHeadSchema = z.strictObject({
  status: z.enum(["ok", "busy", "missing"]),
  /** Vouches for the whole piece that the bytes are of. */
  attestation: AttestationSchema.optional(),
  /** Others that are known to have the piece, when busy. */
  alternatives: z.array(peer).max(8),
});
export type BlockHead = z.infer<typeof BlockHeadSchema>;

const DoneSchema = z.strictObject({ type: z.literal("done") });
/** The receiver does not answer this; the code is one of a closed set. */
const RefusedSchema = z.strictObject({
  type: z.literal("refused"),
  code: z.enum(["ERR_NOT_SHARED", "ERR_MESSAGE", "ERR_LIMIT", "ERR_UPSTREAM"]),
});

export const RequestSchema = z.discriminatedUnion("type", [
  SyncSchema,
  InterestSchema,
  HaveSchema,
  AnnounceSchema,
  StatSchema,
  KeepingSchema,
  NudgeSchema,
  ResolveSchema,
  KeepSchema,
  AccuseSchema,
  UplinkSchema,
  PauseSchema,
  LimitsSchema,
]);
export type ControlRequest = z.infer<typeof RequestSchema>;

export const ReplySchema = z.discriminatedUnion("type", [
  SyncReplySchema,
  InterestReplySchema,
  StatReplySchema,
  KeepingReplySchema,
  ResolveReplySchema,
  AccusedSchema,
  UplinkReplySchema,
  DoneSchema,
  RefusedSchema,
]);
export type ControlReply = z.infer<typeof ReplySchema>;
