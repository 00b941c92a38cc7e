import { createHash, hkdfSync, randomBytes } from "node:crypto";
import { CodedError } from "@shoal/runtime";

/** A site's token in text form, made only by {@link createSiteToken} and {@link parseSiteToken}. */
export type SiteToken = string & { readonly __brand: "SiteToken" };

const PREFIX = "shoal1";
/** Crockford's base 32: no letter that is mistaken for a digit. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const SECRET_BYTES = 20;
const CHECK_BYTES = 5;
const BODY_LENGTH = ((SECRET_BYTES + CHECK_BYTES) * 8) / 5;
const GROUP = 8;

/** What members of a site derive from its token. Nothing of it leads back to the token. */
export interface Site {
  /** Public name of the site, in hex. */
  readonly id: string;
  /** Service tag of mDNS: two sites on one LAN do not meet. */
  readonly serviceTag: string;
  /** Mixed into Noise's handshake: a stranger's fails. */
  readonly prologue: Uint8Array;
  /** Key of the admission proofs. */
  readonly admissionKey: Uint8Array;
}

/** A new token of 160 random bits. */
export function createSiteToken(): SiteToken {
  return format(randomBytes(SECRET_BYTES));
}

/** Reads a token as people paste it: any letter case, dashes and blanks anywhere. @throws ERR_TOKEN_INVALID */
export function parseSiteToken(text: string): SiteToken {
  const plain = text.toLowerCase().replaceAll(/[\s-]/g, "");
  const shape = new RegExp(`^${PREFIX}[${ALPHABET}]{${BODY_LENGTH}}$`);
  if (!plain.startsWith(PREFIX)) throw invalid(`it begins with ${PREFIX}`);
  const count = plain.length - PREFIX.length;
  if (count !== BODY_LENGTH)
    throw invalid(
      `it must have ${BODY_LENGTH} letters and digits after ${PREFIX}; this has ${count}`,
    );
  if (!shape.test(plain))
    throw invalid("after its beginning it has digits, and letters without i, l, o and u");
  const bytes = decode(plain.slice(PREFIX.length));
  const secret = bytes.subarray(0, SECRET_BYTES);
  if (!checksum(secret).equals(bytes.subarray(SECRET_BYTES)))
    throw invalid("its checksum does not match, so a letter is mistyped or missing");
  return format(secret);
}

/** Derives what members use from the token. HKDF, RFC 5869. */
export function siteOf(token: SiteToken): Site {
  const secret = decode(token.replaceAll("-", "").slice(PREFIX.length)).subarray(0, SECRET_BYTES);
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
  const body = encode(Buffer.concat([secret, checksum(secret)]));
  const groups = body.match(new RegExp(`.{1,${GROUP}}`, "g")) ?? [];
  return [PREFIX, ...groups].join("-") as SiteToken;
}

function checksum(secret: Uint8Array): Buffer {
  return createHash("sha256")
    .update("shoal/token/1")
    .update(secret)
    .digest()
    .subarray(0, CHECK_BYTES);
}

function encode(bytes: Buffer): string {
  let value = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (let i = 0; i < BODY_LENGTH; i++) {
    text = ALPHABET[Number(value & 31n)]! + text;
    value >>= 5n;
  }
  return text;
}

function decode(text: string): Buffer {
  let value = 0n;
  for (const letter of text) value = (value << 5n) | BigInt(ALPHABET.indexOf(letter));
  return Buffer.from(value.toString(16).padStart((SECRET_BYTES + CHECK_BYTES) * 2, "0"), "hex");
}

function invalid(hint: string): CodedError<"ERR_TOKEN_INVALID"> {
  return new CodedError(
    "ERR_TOKEN_INVALID",
    `not a site token: ${hint}; copy the whole line that \`shoal token\` prints on a member of the site`,
  );
}
