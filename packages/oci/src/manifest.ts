import { CodedError, hasCode } from "@shoal/runtime";
import { isDigest } from "./digest.ts";
import { MAX_MANIFEST_BYTES, MEDIA_TYPES } from "./media-types.ts";
import { platformOf } from "./platform.ts";
import type { Descriptor, ParsedManifest } from "./types.ts";

type Json = Readonly<Record<string, unknown>>;

const KINDS: ReadonlyMap<string, "manifest" | "index"> = new Map([
  [MEDIA_TYPES.ociManifest, "manifest"],
  [MEDIA_TYPES.dockerManifest, "manifest"],
  [MEDIA_TYPES.ociIndex, "index"],
  [MEDIA_TYPES.dockerList, "index"],
]);

/**
 * Reads what a manifest names. Media types that are not known (schema 1, artifacts to come) are `opaque`.
 * OCI image spec, manifest.md and image-index.md.
 * @param contentType of the response; the body's own `mediaType` goes before it where it is a known one
 * @throws ERR_MANIFEST_INVALID, ERR_MANIFEST_TOO_LARGE
 */
export function parseManifest(bytes: Uint8Array, contentType: string): ParsedManifest {
  if (bytes.length > MAX_MANIFEST_BYTES)
    throw new CodedError(
      "ERR_MANIFEST_TOO_LARGE",
      `the manifest has ${bytes.length} bytes, over the limit of 4 MiB; build the image with fewer annotations or layers`,
    );
  const told = contentType.split(";")[0]!.trim().toLowerCase();
  const body = parseObject(bytes, KINDS.has(told));
  const mediaType = mediaTypeOf(body?.["mediaType"], told);
  const kind = KINDS.get(mediaType);
  if (body !== undefined) refuseAmbiguous(body, kind);
  if (kind === undefined || body === undefined)
    return { kind: "opaque", mediaType, blobs: [], manifests: [] };
  try {
    return { kind, mediaType, ...namedBy(body, kind) };
  } catch (cause) {
    if (hasCode(cause, "ERR_DESCRIPTOR_INVALID"))
      throw new CodedError("ERR_MANIFEST_INVALID", cause.message, { cause });
    throw cause;
  }
}

function mediaTypeOf(inside: unknown, told: string): string {
  if (typeof inside !== "string" || inside === "") return told;
  return KINDS.has(inside) || !KINDS.has(told) ? inside : told;
}

/** One body that two clients read as two images, CVE-2021-41190. Go's clients read keys of any case. */
function refuseAmbiguous(body: Json, kind: "manifest" | "index" | undefined): void {
  const keys = new Set(Object.keys(body).map((key) => key.toLowerCase()));
  if (keys.has("manifests") && (keys.has("layers") || (kind !== undefined && keys.has("config"))))
    throw invalid("is a manifest and an index at once");
}

function namedBy(
  body: Json,
  kind: "manifest" | "index",
): Pick<ParsedManifest, "blobs" | "manifests" | "subject"> {
  const about = body["subject"] ?? undefined;
  const subject = about === undefined ? {} : { subject: parseDescriptor(about) };
  if (kind === "index") return { blobs: [], manifests: descriptors(body, "manifests"), ...subject };
  return {
    blobs: [parseDescriptor(body["config"]), ...descriptors(body, "layers")],
    manifests: [],
    ...subject,
  };
}

function parseObject(bytes: Uint8Array, required: boolean): Json | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (isObject(value)) return value;
  } catch (cause) {
    if (required) throw invalid("is not JSON", cause);
    return undefined;
  }
  if (required) throw invalid("is not a JSON object");
  return undefined;
}

function descriptors(body: Json, field: string): Descriptor[] {
  const list = body[field];
  // Go writes an empty list as null.
  if (list === null) return [];
  if (!Array.isArray(list)) throw invalid(`has no list of ${field}`);
  return list.map((value) => parseDescriptor(value));
}

/** Reads a descriptor. OCI image spec, descriptor.md. @throws ERR_DESCRIPTOR_INVALID */
export function parseDescriptor(value: unknown): Descriptor {
  if (!isObject(value)) throw badDescriptor("is missing or not an object");
  const { mediaType, digest, size, platform, annotations, urls, artifactType } = value;
  if (typeof mediaType !== "string" || mediaType === "") throw badDescriptor("has no mediaType");
  if (typeof digest !== "string" || !isDigest(digest)) throw badDescriptor("has no valid digest");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
    throw badDescriptor("has no valid size");
  return {
    mediaType,
    digest,
    size,
    ...(isObject(platform) ? { platform: platformOf(platform) } : {}),
    ...(isObject(annotations) ? { annotations: stringsOf(annotations) } : {}),
    ...(Array.isArray(urls) ? { urls: urls.filter((url) => typeof url === "string") } : {}),
    ...(typeof artifactType === "string" ? { artifactType } : {}),
  };
}

function stringsOf(value: Json): Record<string, string> {
  return Object.fromEntries(
    Object.entries(value).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    ),
  );
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(fault: string, cause?: unknown): CodedError<"ERR_MANIFEST_INVALID"> {
  return new CodedError(
    "ERR_MANIFEST_INVALID",
    `the manifest ${fault}; the image is broken at its registry, build and push it again`,
    { cause },
  );
}

function badDescriptor(fault: string): CodedError<"ERR_DESCRIPTOR_INVALID"> {
  return new CodedError(
    "ERR_DESCRIPTOR_INVALID",
    `a descriptor in the manifest ${fault}; the image is broken at its registry, build and push it again`,
  );
}
