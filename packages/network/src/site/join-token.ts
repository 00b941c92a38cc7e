import { createHash, hkdfSync, randomBytes } from "node:crypto";
import { CodedError } from "@shoal/runtime";
import { decodeBase32, encodeBase32, grouped, lettersOf } from "../base32.ts";
import { publicKeyOfSeed, signerOf } from "../signatures.ts";
import type { Site } from "../site-token.ts";
import { FINGERPRINT_BYTES, fingerprintOf } from "./site-key.ts";

/** A join token in text form, made only by {@link createJoinToken} and {@link parseJoinToken}. */
export type JoinTokenText = string & { readonly __brand: "JoinToken" };

const PREFIX = "shoaljoin1";
const PROLOGUE_BYTES = 32;
const TAG_BYTES = 5;
const SECRET_BYTES = 16;
const CHECK_BYTES = 6;
const CONTENT_BYTES = PROLOGUE_BYTES + TAG_BYTES + FINGERPRINT_BYTES + SECRET_BYTES;
const LETTERS = ((CONTENT_BYTES + CHECK_BYTES) * 8) / 5;
const SERVICE_TAG = /^_shoal-([0-9a-f]{10})\._udp\.local$/;

/** What a joiner has of a site: where and how members are met, whom it may believe, and a secret to sign with. */
export interface JoinToken {
  readonly site: Pick<Site, "serviceTag" | "prologue">;
  /** Of the site key, by which the joiner knows who may give it a certificate. */
  readonly fingerprint: Uint8Array;
  /** Names the token to who has made it, and tells nothing of its secret. */
  readonly id: string;
  /** Of the key that the token's secret makes: all that is kept of it where it was made. */
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** @param publicKey the site's */
export function createJoinToken(
  site: Pick<Site, "serviceTag" | "prologue">,
  publicKey: Uint8Array,
): JoinTokenText {
  const tag = SERVICE_TAG.exec(site.serviceTag)?.[1] ?? "";
  const content = Buffer.concat([
    site.prologue,
    Buffer.from(tag, "hex"),
    fingerprintOf(publicKey),
    randomBytes(SECRET_BYTES),
  ]);
  return grouped(
    PREFIX,
    encodeBase32(Buffer.concat([content, checksum(content)])),
  ) as JoinTokenText;
}

/** Whether the text is meant to be a join token, right or wrong. */
export function isJoinToken(text: string): boolean {
  return text.trim().toLowerCase().startsWith(PREFIX);
}

/** Reads a join token as people paste it: any letter case, dashes and blanks anywhere. @throws ERR_TOKEN_INVALID */
export function parseJoinToken(text: string): JoinToken {
  const read = lettersOf(text, PREFIX, LETTERS);
  if ("fault" in read) throw invalid(read.fault);
  const bytes = new Uint8Array(decodeBase32(read.letters));
  const content = bytes.subarray(0, CONTENT_BYTES);
  if (!checksum(content).equals(bytes.subarray(CONTENT_BYTES)))
    throw invalid("its checksum does not match, so a letter is mistyped or missing");
  const tagEnd = PROLOGUE_BYTES + TAG_BYTES;
  const secret = content.subarray(tagEnd + FINGERPRINT_BYTES);
  const derive = (purpose: string, length: number): Uint8Array =>
    new Uint8Array(hkdfSync("sha256", secret, "shoal/join/1", purpose, length));
  const seed = derive("key", 32);
  return {
    site: {
      prologue: content.subarray(0, PROLOGUE_BYTES),
      serviceTag: `_shoal-${Buffer.from(content.subarray(PROLOGUE_BYTES, tagEnd)).toString("hex")}._udp.local`,
    },
    fingerprint: content.subarray(tagEnd, tagEnd + FINGERPRINT_BYTES),
    id: Buffer.from(derive("id", 8)).toString("hex"),
    publicKey: publicKeyOfSeed(seed),
    sign: signerOf(seed),
  };
}

function checksum(content: Uint8Array): Buffer {
  const hash = createHash("sha256").update("shoal/join-token/1").update(content).digest();
  return hash.subarray(0, CHECK_BYTES);
}

function invalid(hint: string): CodedError<"ERR_TOKEN_INVALID"> {
  return new CodedError(
    "ERR_TOKEN_INVALID",
    `not a join token: ${hint}; copy the whole line that \`shoal token create\` prints`,
  );
}
