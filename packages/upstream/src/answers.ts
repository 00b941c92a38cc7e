import { isDigest, MAX_MANIFEST_BYTES } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import { contentLength, headerOf, mediaTypeOf, type WireResponse } from "./receiver.ts";
import type { RegistryRequest } from "./requests.ts";
import type { UpstreamHead } from "./types.ts";

/**
 * Refuses a compressed answer: its bytes are not those that the digest is about, and nothing is ever
 * decompressed here.
 * @throws ERR_UPSTREAM_ENCODING
 */
export function refuseEncoding(request: RegistryRequest, response: WireResponse): void {
  const encoding = headerOf(response.headers, "content-encoding")?.trim().toLowerCase() ?? "";
  if (encoding === "" || encoding === "identity") return;
  response.body.close();
  const { registry } = request.endpoint;
  throw new CodedError(
    "ERR_UPSTREAM_ENCODING",
    `${registry} compressed ${request.subject} though it was asked not to; look for a proxy before it that compresses, and turn that off`,
    { details: { registry } },
  );
}

/**
 * Refuses a web page where an answer of a registry was due.
 * @throws ERR_UPSTREAM_NOT_A_REGISTRY
 */
export function refusePage(request: RegistryRequest, response: WireResponse): void {
  if (mediaTypeOf(response.headers)?.toLowerCase() !== "text/html") return;
  response.body.close();
  const { registry } = request.endpoint;
  throw new CodedError(
    "ERR_UPSTREAM_NOT_A_REGISTRY",
    `${registry} answered ${request.subject} with a web page; is it a registry, or does a login page or proxy stand before it?`,
    { details: { registry, status: response.status } },
  );
}

/** What a HEAD's answer tells; of a refusal to answer HEAD at all, nothing. */
export function readHead(response: WireResponse): UpstreamHead {
  const { status, headers } = response;
  response.body.discard();
  if (status !== 200) return {};
  const digest = headerOf(headers, "docker-content-digest");
  const mediaType = mediaTypeOf(headers);
  // The length of a compressed body says nothing.
  const sizeBytes = headers["content-encoding"] === undefined ? contentLength(headers) : undefined;
  return {
    ...(digest !== undefined && isDigest(digest) ? { digest } : {}),
    ...(mediaType === undefined ? {} : { mediaType }),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  };
}

/** The media type that a manifest gives itself, for a registry that sends no `Content-Type`. */
export function innerMediaType(bytes: Uint8Array): string {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (typeof json === "object" && json !== null && "mediaType" in json)
      if (typeof json.mediaType === "string") return json.mediaType;
  } catch {
    // Not JSON: what it is, its reader finds out.
  }
  return "application/octet-stream";
}

export function manifestTooLarge(request: RegistryRequest): CodedError {
  const { registry } = request.endpoint;
  return new CodedError(
    "ERR_MANIFEST_TOO_LARGE",
    `${registry} sent more than the 4 MiB that a manifest may have as ${request.subject}; check the name, or build the image with fewer layers and annotations`,
    { details: { registry, maxBytes: MAX_MANIFEST_BYTES } },
  );
}
