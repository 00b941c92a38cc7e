import { createHash, type Hash } from "node:crypto";
import { CodedError } from "@shoal/runtime";
import type { Digest } from "./types.ts";

export type DigestAlgorithm = "sha256" | "sha512";

const HEX_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

/** Parses `sha256:<64 hex>` or `sha512:<128 hex>`, lower case only. @throws ERR_DIGEST_INVALID */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new CodedError(
    "ERR_DIGEST_INVALID",
    `not a digest: ${JSON.stringify(text.slice(0, 160))}; write sha256: and 64 lower-case hex digits, or sha512: and 128`,
  );
}

/** Whether `text` is a digest that Shoal can verify. OCI image spec, descriptor.md, "Digests". */
export function isDigest(text: string): text is Digest {
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]!.length === HEX_LENGTH[match[1] as DigestAlgorithm];
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith("sha256:") ? "sha256" : "sha512";
}

/** The hex part, safe as a file name. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** The digest of bytes in hand. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}` as Digest;
}

/** Hashes bytes as they come, for comparing with `digest`. */
export interface Digester {
  update(bytes: Uint8Array): void;
  /** Ends the hash; call once. */
  digest(): Digest;
}

/** A digester of the algorithm that `like` uses. */
export function createDigester(like: Digest | DigestAlgorithm): Digester {
  const algorithm: DigestAlgorithm = like.startsWith("sha512") ? "sha512" : "sha256";
  const hash: Hash = createHash(algorithm);
  return {
    update(bytes) {
      hash.update(bytes);
    },
    digest: () => `${algorithm}:${hash.digest("hex")}` as Digest,
  };
}
