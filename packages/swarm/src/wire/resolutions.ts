import * as z from "zod";
import { bytes, count, digest, peer, repository } from "./fields.ts";

/** Asks for a tag or a manifest by its digest. */
export const ResolveSchema = z.strictObject({
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
const RecordSchema = z.strictObject({
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

export const ResolveReplySchema = z.strictObject({
  type: z.literal("resolved"),
  record: RecordSchema.optional(),
  /** A manifest up to 192 KiB; a larger one is fetched like a blob from the record's signer. */
  manifest: bytes.optional(),
  /** Size of the manifest. */
  size: count.optional(),
});

/** Asks the receiver to keep a resolution, as second or third in rank. */
export const KeepSchema = z.strictObject({
  type: z.literal("keep"),
  record: RecordSchema,
  manifest: bytes.optional(),
});
