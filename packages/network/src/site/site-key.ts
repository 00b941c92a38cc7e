import { createHash, randomBytes } from "node:crypto";
import { publicKeyOfSeed, signerOf } from "../signatures.ts";

export const SITE_KEY_BYTES = 32;
export const FINGERPRINT_BYTES = 16;

/** The key that says who belongs to a site: an Ed25519 key, of which members know the public half. */
export interface SiteKey {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** The seed of a new site key. A secret: whoever has it can admit anybody. */
export function createSiteKeySeed(): Uint8Array {
  return new Uint8Array(randomBytes(SITE_KEY_BYTES));
}

export function siteKeyOf(seed: Uint8Array): SiteKey {
  return { publicKey: publicKeyOfSeed(seed), sign: signerOf(seed) };
}

/** Names a site key in a join token, by which a joiner knows the site before it says anything. */
export function fingerprintOf(publicKey: Uint8Array): Uint8Array {
  const hash = createHash("sha256").update("shoal/site-key/1").update(publicKey).digest();
  return new Uint8Array(hash.subarray(0, FINGERPRINT_BYTES));
}
