import { isDigest, type Digest, parseRegistryHost, type RegistryHost } from "@shoal/oci";
import * as z from "zod";
import type { PeerIdString } from "../transport.ts";

/** The version that every frame begins with. */
export const WIRE_VERSION = 1;

const MAX_PEERS = 256;
const MAX_PIECES = 1 << 20;
/** Pieces that one attestation may vouch for. */
const MAX_ATTESTED = 64;
const count = z.number().int().nonnegative();
/** Of a blob. Whoever coordinates it keeps some bytes for each of its pieces, which are of 4 MiB at most. */
const size = count.max(MAX_PIECES * 4 * 1024 * 1024);
const digest = z.custom<Digest>((value) => typeof value === "string" && isDigest(value));
const peer = z.custom<PeerIdString>(
  (value) => typeof value === "string" && /^[1-9A-HJ-NP-Za-km-z]{46,64}$/.test(value),
);
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const bitfield = bytes.refine((value) => value.length <= MAX_PIECES / 8);
/** `registry/name` of a shared repository that the asker works for. */
const repository = z.string().min(3).max(512);
const registry = z.custom<RegistryHost>((value) => {
  try {
    return typeof value === "string" && parseRegistryHost(value) === value;
  } catch {
    return false;
  }
});
const blob = { digest, size, repository };

/** A range of pieces that its holder fetches from the upstream. */
const LeaseSchema = z.strictObject({
  id: count,
  epoch: count,
  /** First piece. */
  first: count,
  /** The piece after the last one. */
  end: count,
});
export type WireLease = z.infer<typeof LeaseSchema>;

/** What its signer says of consecutive pieces: that the upstream or a verified blob has them so. */
const AttestationSchema = z.strictObject({
  signer: peer,
  /** First piece. */
  first: count,
  /** sha256 of each piece, one after another. */
  hashes: bytes.refine((value) => value.length <= MAX_ATTESTED * 32),
  /** Whether the signer read the pieces from the upstream, or holds the whole verified blob. */
  source: z.enum(["upstream", "holder"]),
  signature: bytes.refine((value) => value.length <= 64),
});
export type Attestation = z.infer<typeof AttestationSchema>;

/** A participant's pieces do not make up the blob, or it knows of others to whom that happened. */
const DisputeSchema = z.strictObject({
  disputing: z.boolean(),
  /** Whether it may read pieces from the upstream to find out. */
  mayAudit: z.boolean(),
  /** Which of its pieces each signer vouches for. */
  signers: z.array(z.strictObject({ signer: peer, pieces: bitfield })).max(MAX_PEERS),
  /** Pieces of which two hashes are known. */
  contested: z.array(count).max(256),
  /** What it has read itself, a piece each. */
  findings: z.array(AttestationSchema).max(256),
  /** How many of the coordinator's findings it has heard. */
  heard: count,
});

const AuditSchema = z.strictObject({
  /** To be read from the upstream. */
  pieces: z.array(count).max(64),
  /** From number `heard` of the dispute on. */
  findings: z.array(AttestationSchema).max(256),
  heard: count,
});

/**
 * A participant tells the coordinator all it needs to know, and hears all that it may do. Idempotent:
 * a coordinator that has just taken office rebuilds its view from these alone.
 */
export const SyncSchema = z.strictObject({
  type: z.literal("sync"),
  ...blob,
  /** Whether the participant may and can ask the upstream. */
  canFetch: z.boolean(),
  have: bitfield,
  /** Leases held, each with the bytes that it has brought so far. */
  leases: z.array(LeaseSchema.extend({ done: count })).max(64),
  /** Whether one more lease is welcome. */
  wants: z.boolean(),
  /** Pieces that clients wait for. */
  cursors: z.array(count).max(8),
  /** Highest epoch seen, 0 before the first answer. */
  epoch: count,
  /** Members that this participant does not take the blob from. */
  excluded: z.array(peer).max(MAX_PEERS),
  /** Better ranked members that did not answer the participant. */
  passedOver: z.array(peer).max(16),
  /** A registration with the coordinator of a zone, by its label: the leases are carries into that zone. */
  zone: z.string().max(64).optional(),
  /** Ranges of pieces outside of which no lease is of use, each a first piece and the one after the last. */
  within: z
    .array(z.tuple([count, count]))
    .max(64)
    .optional(),
  /** Whom a forwarded message comes from; it is forwarded once only. */
  origin: peer.optional(),
  /** The participant gives up the blob and its leases. */
  leaving: z.boolean(),
  dispute: DisputeSchema.optional(),
});
export type Sync = z.infer<typeof SyncSchema>;

const SyncReplySchema = z.strictObject({
  type: z.literal("synced"),
  epoch: count,
  holders: z.array(peer).max(MAX_PEERS),
  neighbours: z.array(peer).max(MAX_PEERS),
  /** Every lease that the participant holds now, with its end as it is now. */
  leases: z.array(LeaseSchema).max(64),
  participants: count,
  /** Whether anybody else has or can fetch what the participant lacks. */
  hope: z.boolean(),
  /** Milliseconds after which to ask again. */
  retryMs: count,
  /** The blob itself, when it is at most 64 KiB and the coordinator has it. */
  content: bytes.optional(),
  audit: AuditSchema.optional(),
});
export type SyncReply = z.infer<typeof SyncReplySchema>;

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

/** Asks for a tag or a manifest by its digest. */
const ResolveSchema = z.strictObject({
  type: z.literal("resolve"),
  repository,
  /** A tag or a digest. */
  name: z.string().min(1).max(200),
  /** `*` or the sorted media types that the client accepts. */
  accept: z.array(z.string().max(255)).max(32),
  /** `known`: only what the receiver has, whatever its age; `fetch`: the receiver may ask the upstream. */
  lookup: z.enum(["known", "fetch"]),
});

/** A resolution as its sender vouches for it at the moment of sending. */
export const RecordSchema = z.strictObject({
  repository,
  name: z.string().min(1).max(200),
  accept: z.array(z.string().max(255)).max(32),
  digest,
  mediaType: z.string().max(255),
  ageMs: count,
  signer: peer,
  signature: bytes,
});
export type SignedRecord = z.infer<typeof RecordSchema>;

const ResolveReplySchema = z.strictObject({
  type: z.literal("resolved"),
  record: RecordSchema.optional(),
  /** A manifest up to 192 KiB; a larger one is fetched like a blob from the record's signer. */
  manifest: bytes.optional(),
  /** Size of the manifest. */
  size: count.optional(),
});

/** Asks the receiver to keep a resolution, as second or third in rank. */
const KeepSchema = z.strictObject({
  type: z.literal("keep"),
  record: RecordSchema,
  manifest: bytes.optional(),
});

const UplinkLimitsSchema = z.strictObject({
  /** Bytes per second that the site reads from registries, all together. */
  bytesPerSecond: count.optional(),
  /** Requests for blobs that the site has under way to one registry. */
  connections: count.optional(),
});
/** Limits of a whole site; what is absent is not limited. */
export type UplinkLimits = z.infer<typeof UplinkLimitsSchema>;
const SetLimitsSchema = UplinkLimitsSchema.extend({ setAtMs: count, by: peer });
/** Limits that were set at run time; the newest count. */
export type SetLimits = z.infer<typeof SetLimitsSchema>;

/** What the sender was configured with, and what was set last anywhere, as far as it knows. */
const LimitsSchema = z.strictObject({
  type: z.literal("limits"),
  configured: UplinkLimitsSchema,
  set: SetLimitsSchema.optional(),
});
export type LimitsMessage = z.infer<typeof LimitsSchema>;

/** Asks an uplink office for a share: `*` has the bytes per second, a registry its requests. */
const UplinkSchema = z.strictObject({
  type: z.literal("uplink"),
  office: z.string().min(1).max(300),
  /** What the sender could use, what it has included; 0 gives all back. */
  want: count,
  /** What the sender has now. */
  holds: count,
});
const UplinkReplySchema = z.strictObject({ type: z.literal("uplinked"), amount: count });

/** A registry is to be left alone, or could not be reached. */
const PauseSchema = z.strictObject({
  type: z.literal("pause"),
  registry,
  /** Milliseconds from now. */
  forMs: count.max(6 * 3_600_000),
  cause: z.enum(["limited", "failing"]),
  /** From the registry's office, to all; else from a member to the office. */
  relayed: z.boolean(),
});
export type PauseMessage = z.infer<typeof PauseSchema>;

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

/** A false attestation, for whoever has the verified blob to check. */
const AccuseSchema = z.strictObject({
  type: z.literal("accuse"),
  ...blob,
  attestation: AttestationSchema,
});
export type Accuse = z.infer<typeof AccuseSchema>;
const AccusedSchema = z.strictObject({
  type: z.literal("accused"),
  /** The accused takes its word back: its registry gave it the piece so. */
  withdrawn: z.boolean(),
});

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
