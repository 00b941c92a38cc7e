import * as z from "zod";
import { MemberNameSchema } from "./site-schema.ts";

// Requests are strict: a field that the daemon does not know is a mistake to be told about. Answers
// are not: a newer daemon may say more than this client understands.

const bytes = z.number().int().nonnegative();

/** A failure as the API tells it: the `code` of a CodedError and its message with the next step. */
export const ApiErrorSchema = z.object({
  error: z.object({
    code: z.string().regex(/^ERR_[A-Z0-9_]+$/),
    message: z.string(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  }),
});
export type ApiError = z.infer<typeof ApiErrorSchema>;

/** `POST /v1/pulls`: pull an image into the daemon's store. */
export const PullRequestSchema = z.strictObject({
  reference: z.string().min(1).max(1024),
  /** `os/architecture[/variant]`, or `all`. @default the daemon's own platform */
  platform: z.string().max(128).optional(),
});
export type PullRequest = z.infer<typeof PullRequestSchema>;

export const LayerProgressSchema = z.object({
  digest: z.string(),
  mediaType: z.string(),
  sizeBytes: bytes,
  arrivedBytes: bytes,
  fromUpstreamBytes: bytes,
  fromPeersBytes: bytes,
  fromStoreBytes: bytes,
  state: z.enum(["waiting", "fetching", "done", "failed"]),
});
export type LayerProgress = z.infer<typeof LayerProgressSchema>;

export const PullSchema = z.object({
  id: z.string(),
  reference: z.string(),
  platform: z.string(),
  state: z.enum(["resolving", "fetching", "done", "failed", "cancelled"]),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().optional(),
  /** What the reference resolved to. */
  digest: z.string().optional(),
  mediaType: z.string().optional(),
  /** The registry could not be asked; this is what the site knew. */
  stale: z.boolean().optional(),
  layers: z.array(LayerProgressSchema),
  error: ApiErrorSchema.shape.error.optional(),
});
export type Pull = z.infer<typeof PullSchema>;

/** Whether nothing more will happen to this pull. */
export function isFinished(pull: Pull): boolean {
  return pull.state === "done" || pull.state === "failed" || pull.state === "cancelled";
}

/** Messages of the WebSocket `GET /v1/events`; `?pull=ID` gives one pull's only, starting with its state now. */
export const EventSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("pull"), pull: PullSchema }),
  z.object({ type: z.literal("peer-up"), peer: z.string() }),
  z.object({ type: z.literal("peer-down"), peer: z.string() }),
]);
export type ApiEvent = z.infer<typeof EventSchema>;

/** What every event has, of whatever version the daemon is. */
export const EventEnvelopeSchema = z.object({ type: z.string() });
const EVENT_TYPES: readonly string[] = EventSchema.options.map((option) => option.shape.type.value);
/** Whether this version knows events of `type`. */
export function isEventType(type: string): type is ApiEvent["type"] {
  return EVENT_TYPES.includes(type);
}

/** A blob whose pieces a member has vouched for falsely. */
export const FalseBlobSchema = z.object({
  digest: z.string(),
  registry: z.string(),
  at: z.iso.datetime(),
  /** Whether it counts towards a ban: no registry can have misled the member, nor has it taken its word back. */
  counts: z.boolean(),
  /** The member's signed word in the `accuse` message, in base64: whoever has the blob can check it. */
  proof: z.string(),
});
export type FalseBlob = z.infer<typeof FalseBlobSchema>;

export const PeerSchema = z.object({
  id: z.string(),
  state: z.enum(["up", "down"]),
  addresses: z.array(z.string()),
  /** TCP port of its bulk lane, once it was asked for a key to it. */
  bulkPort: z.number().int().optional(),
  /** How it was found. */
  source: z.enum(["mdns", "static", "roster", "inbound"]),
  lastSeenAt: z.iso.datetime().optional(),
  /** Wrong pieces within an hour, and blobs within a day that it vouched for falsely. */
  strikes: z.number().int().nonnegative(),
  /** Those within a day, and those that it is banned for; absent when there are none. */
  falseBlobs: z.array(FalseBlobSchema).optional(),
  /** What its certificate calls it, while it is up. */
  name: z.string().optional(),
  /** Label of its zone, while it is up. */
  zone: z.string().optional(),
  /** Nothing is taken from it before. */
  bannedUntil: z.iso.datetime().optional(),
});
export type Peer = z.infer<typeof PeerSchema>;

export const ImageSchema = z.object({
  name: z.string(),
  digest: z.string(),
  mediaType: z.string(),
  /** Manifests, config and layers together, as far as they are in the store. */
  sizeBytes: bytes,
  /** Whether everything that the manifest names is in the store. */
  complete: z.boolean(),
});
export type Image = z.infer<typeof ImageSchema>;

/** How the audit log is: `failing` while its disk does not take it. */
export const AuditStatusSchema = z.object({
  state: z.enum(["on", "off", "failing"]),
  folder: z.string().optional(),
  /** Number of the newest record. */
  seq: z.number().int().nonnegative().optional(),
  /** Records since the start that could not be kept. */
  dropped: z.number().int().nonnegative().optional(),
});
export type AuditStatus = z.infer<typeof AuditStatusSchema>;

export const StatusSchema = z.object({
  version: z.string(),
  peerId: z.string(),
  startedAt: z.iso.datetime(),
  stateFolder: z.string(),
  /** Public name of the site, which tells nothing of its token; absent without one. */
  site: z.string().optional(),
  /** By which this machine belongs to the site; absent for one with the token alone. */
  certificate: z
    .object({
      name: z.string(),
      roles: z.array(z.string()),
      issuedAt: z.iso.datetime(),
      notAfter: z.iso.datetime(),
    })
    .optional(),
  mirror: z.array(z.string()),
  swarm: z.array(z.string()),
  /** TCP port that the bytes of images come and go by; absent when there is none. */
  bulkPort: z.number().int().optional(),
  mdns: z.enum(["on", "off", "failing"]),
  /** Another machine that has this machine's identity, as a cloned disk has, when one was met lately. */
  twin: z.object({ address: z.string(), seenAt: z.iso.datetime() }).optional(),
  peersUp: z.number().int().nonnegative(),
  store: z.object({
    blobs: bytes,
    blobBytes: bytes,
    ingests: bytes,
    ingestBytes: bytes,
    freeBytes: bytes,
    /** Other than `ok`: what it can't take passes through to clients unstored. */
    state: z.enum(["ok", "full", "readOnly", "failing"]).optional(),
    /** What it failed at last, with what to do about it; absent when ok. */
    why: z.string().optional(),
    /** What the store may take: its quota, or what the disk has above the floor. */
    capacityBytes: bytes.optional(),
    /** Nothing is stored below so much free space. */
    minFreeBytes: bytes.optional(),
  }),
  traffic: z.object({
    fromUpstreamBytes: bytes,
    fromPeersBytes: bytes,
    toPeersBytes: bytes,
    toClientsBytes: bytes,
  }),
  /** Engines that have asked the mirror for an image since the daemon started, by their `User-Agent`. */
  clients: z
    .array(
      z.object({
        /**
         * `docker`, `containerd`, `podman` for its whole family, `crio`, `buildkit`, `containerd-library` for what
         * is made with that and has no name of its own, or `other`.
         */
        engine: z.string(),
        lastSeenAt: z.iso.datetime(),
      }),
    )
    .optional(),
  /** Where the daemon looks for logins, and what it finds there as its own user; never a login. */
  logins: z
    .object({
      files: z.array(
        z.object({
          path: z.string(),
          state: z.enum(["read", "missing", "unreadable", "broken"]),
        }),
      ),
      /** Credential helpers that the files name. */
      helpers: z.array(
        z.object({
          name: z.string(),
          allowed: z.boolean(),
          /** What the configuration has to say, where it is not allowed and could be. */
          setting: z.string().optional(),
          /** Absent when it is in no folder of the daemon's `PATH`, or is not allowed. */
          program: z.string().optional(),
          /** What was wrong when it was last asked. */
          failure: z.string().optional(),
        }),
      ),
    })
    .optional(),
  transfers: z.number().int().nonnegative(),
  audit: AuditStatusSchema.optional(),
  registries: z.array(
    z.object({
      registry: z.string(),
      backOffUntil: z.iso.datetime().optional(),
      lastErrorCode: z.string().optional(),
      /** How many pulls it allows, and still allows, as it told with its last manifest. */
      pullLimit: z
        .object({
          limit: z.number().int().nonnegative(),
          remaining: z.number().int().nonnegative(),
          windowSeconds: z.number().int().nonnegative().optional(),
        })
        .optional(),
    }),
  ),
});
export type Status = z.infer<typeof StatusSchema>;

/** `GET /v1/site/token` */
export const TokenSchema = z.object({ token: z.string() });
/** `POST /v1/site/join` */
export const JoinRequestSchema = z.strictObject({
  /** The site's token or a join token. */
  token: z.string().min(1).max(256),
  /** What this machine is to be called, with a join token. @default its host's name */
  name: MemberNameSchema.optional(),
  /** Whether another site may be left for it, whose token is forgotten here. @default false */
  replace: z.boolean().optional(),
});
export type JoinRequest = z.infer<typeof JoinRequestSchema>;

/** What joining has changed; `site` and `left` are public names of sites. */
export const JoinOutcomeSchema = z.object({
  outcome: z.enum(["joined", "already-member", "moved"]),
  site: z.string(),
  /** The site that was left, when moved. */
  left: z.string().optional(),
  /** What this machine is called in its certificate, and when that ends unless it is renewed before. */
  name: z.string().optional(),
  notAfter: z.iso.datetime().optional(),
});
export type JoinOutcome = z.infer<typeof JoinOutcomeSchema>;

const limit = z.number().int().min(1).max(1e12);
const siteSetting = z.object({ at: z.iso.datetime(), by: z.string() });
/** `GET /v1/limits`: what is absent is not limited. */
export const LimitsSchema = z.object({
  /** What the site reads from registries, all members together. */
  uplinkBytesPerSecond: limit.optional(),
  /** Requests for blobs that the site has under way to one registry. */
  uplinkConnections: limit.optional(),
  /** What this machine sends to members. */
  lanUploadBytesPerSecond: limit.optional(),
  /** When and by which member the site's limits were set; absent while those of the configuration hold. */
  set: siteSetting.optional(),
});
export type Limits = z.infer<typeof LimitsSchema>;
/** `PATCH /v1/limits`: `null` takes a limit away, what is absent stays. Answered with the limits then. */
export const LimitsChangeSchema = z.strictObject({
  uplinkBytesPerSecond: limit.nullable().optional(),
  uplinkConnections: limit.nullable().optional(),
  lanUploadBytesPerSecond: limit.nullable().optional(),
});
export type LimitsChange = z.infer<typeof LimitsChangeSchema>;

export const PullListSchema = z.object({ pulls: z.array(PullSchema) });
export const PeerListSchema = z.object({
  self: z.string(),
  /** Label of this machine's zone. */
  zone: z.string().optional(),
  peers: z.array(PeerSchema),
});
export type PeerList = z.infer<typeof PeerListSchema>;
export const ImageListSchema = z.object({ images: z.array(ImageSchema) });
