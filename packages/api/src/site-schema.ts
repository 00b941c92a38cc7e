import * as z from "zod";

/** What a machine may be called in its certificate. */
export const MemberNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "write up to 64 letters, digits, dots, dashes, underscores");

/** `POST /v1/site/init`: make the site's key on this machine. */
export const SiteInitRequestSchema = z.strictObject({
  /** What this machine is called. @default its host's name */
  name: MemberNameSchema.optional(),
});
export type SiteInitRequest = z.infer<typeof SiteInitRequestSchema>;

export const SiteMadeSchema = z.object({
  site: z.string(),
  name: z.string(),
  /** When this machine's certificate ends, unless it is renewed before. */
  notAfter: z.iso.datetime(),
  /** Where the site key is, on the daemon's machine. */
  keyFile: z.string(),
});
export type SiteMade = z.infer<typeof SiteMadeSchema>;

/** `POST /v1/site/join-tokens` */
export const JoinTokenRequestSchema = z.strictObject({
  /** How many machines may join with it. @default 1 */
  uses: z.number().int().min(1).max(1000).optional(),
  /** How long it is good. @default 86400 */
  ttlSeconds: z
    .number()
    .int()
    .min(1)
    .max(30 * 24 * 3600)
    .optional(),
});
export type JoinTokenRequest = z.infer<typeof JoinTokenRequestSchema>;

/** The token is told this once: what is kept of it can only check it. */
export const JoinTokenMadeSchema = z.object({
  token: z.string(),
  uses: z.number().int(),
  expiresAt: z.iso.datetime(),
});
export type JoinTokenMade = z.infer<typeof JoinTokenMadeSchema>;

export const MemberSchema = z.object({
  peer: z.string(),
  /** Absent for one that was admitted by the token. */
  name: z.string().optional(),
  roles: z.array(z.string()),
  state: z.enum(["up", "down"]),
  /** When its certificate ends, unless it is renewed before. */
  notAfter: z.iso.datetime().optional(),
  revokedAt: z.iso.datetime().optional(),
});
export type Member = z.infer<typeof MemberSchema>;

/** `GET /v1/site/members` */
export const MemberListSchema = z.object({
  self: z.string(),
  site: z.string().optional(),
  /** Whether the site has a key, so that members have certificates. */
  keyed: z.boolean(),
  /** Since when the site's token admits nobody. */
  tokenEndedAt: z.iso.datetime().optional(),
  members: z.array(MemberSchema),
});
export type MemberList = z.infer<typeof MemberListSchema>;

/** `POST /v1/site/revocations` */
export const RevokeRequestSchema = z.strictObject({
  /** Its name or peer id. */
  member: z.string().min(1).max(128),
});
export type RevokeRequest = z.infer<typeof RevokeRequestSchema>;
export const RevokedSchema = z.object({
  peer: z.string(),
  name: z.string().optional(),
  revokedAt: z.iso.datetime(),
});
export type Revoked = z.infer<typeof RevokedSchema>;

/** `POST /v1/site/token-end` */
export const EndTokenRequestSchema = z.strictObject({
  /** Whether members that are up and have nothing but the token may be put out. @default false */
  force: z.boolean().optional(),
});
export type EndTokenRequest = z.infer<typeof EndTokenRequestSchema>;
export const TokenEndedSchema = z.object({ site: z.string(), endedAt: z.iso.datetime() });
export type TokenEnded = z.infer<typeof TokenEndedSchema>;
