import {
  type Digest,
  digestAlgorithm,
  digestOf,
  isDigest,
  isSchema1,
  MAX_MANIFEST_BYTES,
  type RegistryHost,
  schema1Digest,
  type Tag,
} from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import { nextPageQuery } from "./link.ts";
import { contentLength, headerOf, mediaTypeOf, readAll, type WireResponse } from "./receiver.ts";
import type { RegistryRequest } from "./requests.ts";
import type { UpstreamDocument, UpstreamHead, UpstreamManifest } from "./types.ts";

const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024;

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

/**
 * Reads a manifest, which has the digest that it was asked for by, or that the registry has told.
 * @param asked what is meant, whichever endpoint of the registry's answers
 * @throws ERR_MANIFEST_TOO_LARGE, ERR_DIGEST_MISMATCH, ERR_UPSTREAM_ENCODING, ERR_UPSTREAM_NOT_A_REGISTRY
 */
export async function readManifest(
  request: RegistryRequest,
  response: WireResponse,
  asked: { readonly registry: RegistryHost; readonly name: Tag | Digest },
): Promise<UpstreamManifest> {
  const { registry, name } = asked;
  refuseEncoding(request, response);
  refusePage(request, response);
  const tooLarge = (): CodedError => manifestTooLarge(request);
  if ((contentLength(response.headers) ?? 0) > MAX_MANIFEST_BYTES) {
    response.body.close();
    throw tooLarge();
  }
  const bytes = await readAll(response.body, MAX_MANIFEST_BYTES, tooLarge);
  const mediaType = mediaTypeOf(response.headers) ?? innerMediaType(bytes);
  const digestBy = isSchema1(mediaType) ? schema1Digest : digestOf;
  const told = headerOf(response.headers, "docker-content-digest") ?? "";
  const expected = isDigest(name) ? name : isDigest(told) ? told : undefined;
  if (expected !== undefined && digestBy(bytes, digestAlgorithm(expected)) !== expected)
    throw new CodedError(
      "ERR_DIGEST_MISMATCH",
      `${registry} sent other bytes for ${request.subject} than those of ${expected}; try again, and distrust what stands before it if it stays so`,
      { details: { registry, digest: expected } },
    );
  const digest = digestBy(bytes, isDigest(name) ? digestAlgorithm(name) : "sha256");
  return { digest, mediaType, bytes };
}

/**
 * Reads a list of tags or of referrers.
 * @throws ERR_UPSTREAM_TOO_LONG, ERR_UPSTREAM_ENCODING, ERR_UPSTREAM_NOT_A_REGISTRY
 */
export async function readDocument(
  request: RegistryRequest,
  response: WireResponse,
): Promise<UpstreamDocument> {
  refuseEncoding(request, response);
  refusePage(request, response);
  const { registry } = request.endpoint;
  const bytes = await readAll(
    response.body,
    MAX_DOCUMENT_BYTES,
    () =>
      new CodedError(
        "ERR_UPSTREAM_TOO_LONG",
        `${registry} sent more than ${MAX_DOCUMENT_BYTES} bytes of ${request.subject}; ask for it in pages with n=`,
        { details: { registry } },
      ),
  );
  const nextQuery = nextPageQuery(headerOf(response.headers, "link"));
  const filtersApplied = headerOf(response.headers, "oci-filters-applied");
  return {
    mediaType: mediaTypeOf(response.headers) ?? "application/json",
    bytes,
    ...(nextQuery === undefined ? {} : { nextQuery }),
    ...(filtersApplied === undefined ? {} : { filtersApplied }),
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

function manifestTooLarge(request: RegistryRequest): CodedError {
  const { registry } = request.endpoint;
  return new CodedError(
    "ERR_MANIFEST_TOO_LARGE",
    `${registry} sent more than the 4 MiB that a manifest may have as ${request.subject}; check the name, or build the image with fewer layers and annotations`,
    { details: { registry, maxBytes: MAX_MANIFEST_BYTES } },
  );
}
