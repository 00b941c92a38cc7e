import * as z from "zod";

const bytes = z.number().int().nonnegative();

/** `POST /v1/pins`: keep an image, by its reference or digest. `POST /v1/pins/remove`: no longer. */
export const PinRequestSchema = z.strictObject({ name: z.string().min(1).max(1024) });
export type PinRequest = z.infer<typeof PinRequestSchema>;

export const PinSchema = z.object({
  /** What was asked for: a reference in full, or a digest. */
  name: z.string(),
  digest: z.string(),
  pinnedAt: z.iso.datetime(),
});
export type Pin = z.infer<typeof PinSchema>;
export const PinRemovalSchema = z.object({ pins: z.array(PinSchema) });

/** `GET /v1/pins` */
export const PinListSchema = z.object({
  pins: z.array(
    PinSchema.extend({
      /** Of what the pin keeps in the store, shared layers included. */
      sizeBytes: bytes,
    }),
  ),
});
export type PinList = z.infer<typeof PinListSchema>;

/** `POST /v1/gc` */
export const CollectRequestSchema = z.strictObject({
  /** Only tell what would go. @default false */
  dryRun: z.boolean().optional(),
  /** What the store may hold afterwards. @default its low mark */
  targetBytes: bytes.optional(),
});
export type CollectRequest = z.infer<typeof CollectRequestSchema>;

export const RemovalSchema = z.object({
  kind: z.enum(["image", "blob", "ingest"]),
  digest: z.string(),
  /** Those that `shoal images` lists. */
  names: z.array(z.string()),
  reason: z.enum(["unnamed", "unfinished", "least-recently-used", "last-copy"]),
  usedAt: z.iso.datetime(),
  sizeBytes: bytes,
  /** How many blobs go with it. */
  blobs: bytes,
});

/** `POST /v1/store/verify` begins to read all blobs, or tells how far that is; `GET` tells how far the last one came. */
export const VerificationSchema = z.object({
  startedAt: z.iso.datetime(),
  /** Absent while it is under way. */
  finishedAt: z.iso.datetime().optional(),
  checkedBlobs: bytes,
  checkedBytes: bytes,
  totalBlobs: bytes,
  totalBytes: bytes,
  /** What ended it before all were read. */
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  /** What is not what it was; it has been put aside, and is fetched again where it is known from where. */
  findings: z.array(
    z.object({
      digest: z.string(),
      sizeBytes: bytes,
      /** `unreadable`: the disk gives no bytes; `missing`: there is no file. */
      fault: z.enum(["rotten", "unreadable", "missing"]),
    }),
  ),
});
export type Verification = z.infer<typeof VerificationSchema>;

/** `POST /v1/store/rebuild` */
export const RebuiltSchema = z.object({
  blobs: bytes,
  /** Files that were not known. */
  addedBlobs: bytes,
  /** Blobs that were known and have no file any more. */
  goneBlobs: bytes,
  manifests: bytes,
  /** Records about blobs that are not here. */
  droppedRecords: bytes,
});
export type Rebuilt = z.infer<typeof RebuiltSchema>;

/** What was removed, or would be. */
export const CollectionSchema = z.object({
  dryRun: z.boolean(),
  removals: z.array(RemovalSchema),
  wonBytes: bytes,
  /** What could not be won, the rest being pinned or in use. */
  shortBytes: bytes,
});
export type Collection = z.infer<typeof CollectionSchema>;
