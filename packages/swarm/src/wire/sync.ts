import * as z from "zod";
import { AuditSchema, DisputeSchema } from "./attestations.ts";
import { bitfield, blob, bytes, count, MAX_PEERS, peer } from "./fields.ts";

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

export const SyncReplySchema = z.strictObject({
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
