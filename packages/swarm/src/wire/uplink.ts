import * as z from "zod";
import { count, peer, registry } from "./fields.ts";

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
export const LimitsSchema = z.strictObject({
  type: z.literal("limits"),
  configured: UplinkLimitsSchema,
  set: SetLimitsSchema.optional(),
});
export type LimitsMessage = z.infer<typeof LimitsSchema>;

/** Asks an uplink office for a share: `*` has the bytes per second, a registry its requests. */
export const UplinkSchema = z.strictObject({
  type: z.literal("uplink"),
  office: z.string().min(1).max(300),
  /** What the sender could use, what it has included; 0 gives all back. */
  want: count,
  /** What the sender has now. */
  holds: count,
});
export const UplinkReplySchema = z.strictObject({ type: z.literal("uplinked"), amount: count });

/** A registry is to be left alone, or could not be reached. */
export const PauseSchema = z.strictObject({
  type: z.literal("pause"),
  registry,
  /** Milliseconds from now. */
  forMs: count.max(6 * 3_600_000),
  cause: z.enum(["limited", "failing"]),
  /** From the registry's office, to all; else from a member to the office. */
  relayed: z.boolean(),
});
export type PauseMessage = z.infer<typeof PauseSchema>;
