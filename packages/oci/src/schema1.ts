import { type DigestAlgorithm, digestOf } from "./digest.ts";
import type { Digest } from "./types.ts";

const SCHEMA1_TYPES = new Set([
  "application/vnd.docker.distribution.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v1+prettyjws",
]);

/** Whether a manifest is of Docker's schema 1, by its media type. It names no sizes, and carries its own signatures. */
export function isSchema1(mediaType: string): boolean {
  return SCHEMA1_TYPES.has(mediaType.toLowerCase());
}

/**
 * The digest of a schema 1 manifest: over its payload, which is the body without its signatures. Each signature
 * says where the payload ends and how it goes on from there. Docker's manifest v2, schema 1, "Signed manifests".
 * @returns of a body without readable signatures its own digest
 */
export function schema1Digest(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  return digestOf(payloadOf(bytes) ?? bytes, algorithm);
}

function payloadOf(bytes: Uint8Array): Uint8Array | undefined {
  try {
    const body = JSON.parse(Buffer.from(bytes).toString("utf8")) as {
      signatures?: { protected?: unknown }[];
    };
    const header = body.signatures?.[0]?.protected;
    if (typeof header !== "string") return undefined;
    const { formatLength, formatTail } = JSON.parse(fromBase64(header).toString("utf8")) as {
      formatLength?: unknown;
      formatTail?: unknown;
    };
    if (typeof formatLength !== "number" || typeof formatTail !== "string") return undefined;
    if (!Number.isSafeInteger(formatLength) || formatLength < 0 || formatLength > bytes.length)
      return undefined;
    return Buffer.concat([bytes.subarray(0, formatLength), fromBase64(formatTail)]);
  } catch {
    return undefined;
  }
}

function fromBase64(text: string): Buffer {
  return Buffer.from(text, "base64url");
}
