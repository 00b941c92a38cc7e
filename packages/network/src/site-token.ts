import { createHash, hkdfSync, randomBytes } from "node:crypto";
import { CodedError } from "@shoal/runtime";
import { decodeBase32, encodeBase32, grouped, lettersOf } from "./base32.ts";

/** A site's token in text form, made only by {@link createSiteToken} and {@link parseSiteToken}. */
export type SiteToken = string & { readonly __brand: "SiteToken" };

const PREFIX = "shoal1";
const SECRET_BYTES = 20;
const CHECK_BYTES = 5;
const BODY_LENGTH = ((SECRET_BYTES + CHECK_BYTES) * 8) / 5;

/** What members of a site have in common. Nothing of it leads back to the token. */
export interface Site {
  /** Public name of the site, in hex. */
  readonly id: string;
  /** Service tag of mDNS: two sites on one LAN do not meet. */
  readonly serviceTag: string;
  /** Mixed into Noise's handshake: a stranger's fails. */
  readonly prologue: Uint8Array;
}

/** What a site's token gives to who has it. */
export interface TokenSite extends Site {
  /** Key of the admission proofs. */
  readonly admissionKey: Uint8Array;
}

/** A new token of 160 random bits. */
export function createSiteToken(): SiteToken {
  return format(randomBytes(SECRET_BYTES));
}

/** Reads a token as people paste it: any letter case, dashes and blanks anywhere. @throws ERR_TOKEN_INVALID */
export function parseSiteToken(text: string): SiteToken {
  const read = lettersOf(text, PREFIX, BODY_LENGTH);
  if ("fault" in read) throw invalid(read.fault);
  const bytes = decodeBase32(read.letters);
  const secret = bytes.subarray(0, SECRET_BYTES);
  if (!checksum(secret).equals(bytes.subarray(SECRET_BYTES)))
    throw invalid("its checksum does not match, so a letter is mistyped or missing");
  return format(secret);
}

/** Derives what members use from the token. HKDF, RFC 5869. */
export function siteOf(token: SiteToken): TokenSite {
  const letters = token.replaceAll("-", "").slice(PREFIX.length);
  const secret = decodeBase32(letters).subarray(0, SECRET_BYTES);
  const derive = (purpose: string, length: number): Uint8Array =>
    new Uint8Array(hkdfSync("sha256", secret, "shoal/site/1", purpose, length));
  const tag = Buffer.from(derive("mdns", 5)).toString("hex");
  return {
    id: Buffer.from(derive("id", 16)).toString("hex"),
    serviceTag: `_shoal-${tag}._udp.local`,
    prologue: derive("prologue", 32),
    admissionKey: derive("admission", 32),
  };
}

function format(secret: Buffer): SiteToken {
  const letters = encodeBase32(Buffer.concat([secret, checksum(secret)]));
  return grouped(PREFIX, letters) as SiteToken;
}

function checksum(secret: Uint8Array): Buffer {
  return createHash("sha256")
    .update("shoal/token/1")
    .update(secret)
    .digest()
    .subarray(0, CHECK_BYTES);
}

function invalid(hint: string): CodedError<"ERR_TOKEN_INVALID"> {
  return new CodedError(
    "ERR_TOKEN_INVALID",
    `not a site token: ${hint}; copy the whole line that \`shoal token\` prints on a member of the site`,
  );
}
