import { CodedError } from "@shoal/runtime";
import { isDigest } from "./digest.ts";
import { MAX_MANIFEST_BYTES, MEDIA_TYPES } from "./media-types.ts";
import { platformOf } from "./platform.ts";
import type { Descriptor, ParsedManifest } from "./types.ts";

type Json = Readonly<Record<string, unknown>>;

const KINDS: Readonly<Record<string, "manifest" | "index">> = {
  [MEDIA_TYPES.ociManifest]: "manifest",
  [MEDIA_TYPES.dockerManifest]: "manifest",
  [MEDIA_TYPES.ociIndex]: "index",
  [MEDIA_TYPES.dockerList]: "index",
};

/**
 * Reads what a manifest names. Media types that are not known (schema 1, artifacts to come) are `opaque`.
 * OCI image spec, manifest.md and image-index.md.
 * @param contentType of the response; the body's own `mediaType` goes before it
 * @throws ERR_MANIFEST_INVALID, ERR_MANIFEST_TOO_LARGE
 */
export function parseManifest(bytes: Uint8Array, contentType: string): ParsedManifest {
  if (bytes.length > MAX_MANIFEST_BYTES)
    throw new CodedError(
      "ERR_MANIFEST_TOO_LARGE",
      `the manifest has ${bytes.length} bytes, over the limit of 4 MiB; build the image with fewer annotations or layers`,
    );
  const told = contentType.split(";")[0]!.trim().toLowerCase();
  const body = parseObject(bytes, KINDS[told] !== undefined);
  const inside = body?.["mediaType"];
  const mediaType = typeof inside === "string" && inside !== "" ? inside : told;
  const kind = KINDS[mediaType];
  if (kind === undefined || body === undefined)
    return { kind: "opaque", mediaType, blobs: [], manifests: [] };
  // One body that two clients read as two images. CVE-2021-41190.
  if ("manifests" in body && ("layers" in body || "config" in body))
    throw invalid("is a manifest and an index at once");
  const subject =
    body["subject"] === undefined ? {} : { subject: parseDescriptor(body["subject"]) };
  if (kind === "index")
    return { kind, mediaType, blobs: [], manifests: descriptors(body, "manifests"), ...subject };
  return {
    kind,
    mediaType,
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
  if (!Array.isArray(list)) throw invalid(`has no list of ${field}`);
  return list.map(parseDescriptor);
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
