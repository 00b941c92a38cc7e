import { randomBytes } from "node:crypto";
import { CodedError } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import { encode } from "cborg";
import * as z from "zod";
import { bytes, bytesUpTo, NONCE_BYTES, receive, withDeadline } from "../admission-frames.ts";
import type { FramedStream } from "../frames.ts";
import { isSignedBy } from "../signatures.ts";
import {
  type Certificate,
  hasRole,
  MAX_CERTIFICATE_BYTES,
  MemberNameSchema,
  readCertificate,
  SiteIdSchema,
} from "./certificate.ts";
import type { SiteRecord } from "./credentials.ts";
import { createNotices, MAX_NOTICE_BYTES, MAX_REVOCATIONS, type Notices } from "./notices.ts";
import type { JoinToken } from "./join-token.ts";
import { fingerprintOf, SITE_KEY_BYTES } from "./site-key.ts";

export const JOIN_PROTOCOL = "/shoal/join/1";
const DOMAIN = "shoal/join/1";
/** A joiner has little to say, and is a stranger; an issuer tells it all notices. */
const ASK_BYTES = 4096;
const GRANT_BYTES = 256 * 1024;
export const JOINER_LIMITS = { readBytes: GRANT_BYTES, writeBytes: ASK_BYTES };
export const ISSUER_LIMITS = { readBytes: ASK_BYTES, writeBytes: GRANT_BYTES };
const SIGNATURE_BYTES = 64;

const AskSchema = z.strictObject({
  token: z.string().regex(/^[0-9a-f]{16}$/),
  nonce: bytes(NONCE_BYTES),
});
const IssuerSchema = z.strictObject({
  nonce: bytes(NONCE_BYTES),
  site: SiteIdSchema,
  key: bytes(SITE_KEY_BYTES),
  certificate: bytesUpTo(MAX_CERTIFICATE_BYTES),
});
const SignedSchema = z.strictObject({ name: MemberNameSchema, signature: bytes(SIGNATURE_BYTES) });
const GrantSchema = z.strictObject({
  certificate: bytesUpTo(MAX_CERTIFICATE_BYTES),
  notices: z.array(bytesUpTo(MAX_NOTICE_BYTES)).max(MAX_REVOCATIONS + 1),
  token: z.string().max(128).optional(),
});

/** What a joiner was given. */
export interface JoinGrant {
  readonly record: SiteRecord;
  readonly certificate: Certificate;
  /** The site's token, as long as it admits: members that have no certificate yet know nothing else. */
  readonly token: string | undefined;
}

/** Who gives certificates: a machine with the site key. */
export interface Issuer {
  /** The key by which the token's holder signs; `undefined` when the peer may not use the token now. */
  joinKey(
    tokenId: string,
    peer: PeerIdString,
    revocationOf: Notices["revocationOf"],
  ): Uint8Array | undefined;
  /** Counts one use of the token, durably, and gives a certificate. @param afterMs its time is later than this */
  admit(tokenId: string, peer: PeerIdString, name: string, afterMs: number): Promise<Certificate>;
  /** The same name and roles for longer. `undefined` while the site key is not there. */
  renew(certificate: Certificate): Promise<Certificate | undefined>;
}

export interface AskToJoinInit {
  readonly token: JoinToken;
  readonly name: string;
  readonly self: PeerIdString;
  readonly remote: PeerIdString;
  /** Wall-clock milliseconds. */
  readonly now: () => number;
}

/**
 * Asks for a certificate. Who was dialled must show that the site key has made it an issuer before it is told
 * more than the token's name; the token's secret is never sent, it signs.
 * @throws ERR_ADMISSION, with ERR_JOIN as its cause where looking further is of no use
 */
export async function askToJoin(stream: FramedStream, init: AskToJoinInit): Promise<JoinGrant> {
  const { token, name, self, remote } = init;
  return await withDeadline(async (signal) => {
    const nonce = randomBytes(NONCE_BYTES);
    await stream.write([encode({ token: token.id, nonce })], { signal });
    const theirs = await receive(stream, IssuerSchema, signal);
    if (Buffer.compare(fingerprintOf(theirs.key), token.fingerprint) !== 0)
      throw refused("is of another site than the token");
    const verifier = { id: theirs.site, publicKey: theirs.key };
    const issuer = readCertificate(theirs.certificate, verifier);
    if (issuer.peer !== remote || !hasRole(issuer, "issuer"))
      throw refused("has no certificate by which it may admit");
    ensureCurrent(issuer, init.now());
    const message = joinMessage(theirs.site, self, remote, [nonce, theirs.nonce], name);
    await stream.write([encode({ name, signature: token.sign(message) })], { signal });
    const grant = await receive(stream, GrantSchema, signal);
    const certificate = readCertificate(grant.certificate, verifier);
    if (certificate.peer !== self) throw refused("gave a certificate for another machine");
    ensureCurrent(certificate, init.now());
    createNotices(verifier).merge(grant.notices);
    return {
      certificate,
      token: grant.token,
      record: {
        site: { id: theirs.site, ...token.site },
        publicKey: theirs.key,
        certificate: certificate.document,
        notices: grant.notices,
      },
    };
  });
}

export interface GrantJoinInit {
  readonly issuer: Issuer;
  readonly record: SiteRecord;
  readonly siteToken: string | undefined;
  readonly self: PeerIdString;
  readonly remote: PeerIdString;
  /** The certificate's time is later than this. Wall-clock milliseconds. */
  readonly afterMs: number;
  readonly revocationOf: Notices["revocationOf"];
}

/** Answers a joiner. Who does not know the name of a token that is good is told nothing. @throws ERR_ADMISSION */
export async function grantJoin(stream: FramedStream, init: GrantJoinInit): Promise<Certificate> {
  const { issuer, record, self, remote } = init;
  return await withDeadline(async (signal) => {
    const ask = await receive(stream, AskSchema, signal);
    const joinKey = issuer.joinKey(ask.token, remote, init.revocationOf);
    if (joinKey === undefined) throw refused("has a join token that is not good any more");
    const nonce = randomBytes(NONCE_BYTES);
    const { site, publicKey, certificate } = record;
    await stream.write([encode({ nonce, site: site.id, key: publicKey, certificate })], { signal });
    const { name, signature } = await receive(stream, SignedSchema, signal);
    const message = joinMessage(site.id, remote, self, [ask.nonce, nonce], name);
    if (!isSignedBy(joinKey, message, signature)) throw refused("does not know its join token");
    const given = await issuer.admit(ask.token, remote, name, init.afterMs);
    const grant = {
      certificate: given.document,
      notices: [...record.notices],
      ...(init.siteToken === undefined ? {} : { token: init.siteToken }),
    };
    await stream.write([encode(grant)], { signal });
    return given;
  });
}

/** An issuer keeps its certificate current: where one has ended, it is the clock here that is wrong. */
function ensureCurrent({ notAfterMs }: Certificate, nowMs: number): void {
  if (nowMs < notAfterMs) return;
  throw new CodedError(
    "ERR_JOIN",
    `by this machine's clock, which says ${new Date(nowMs).toISOString()}, the site's certificates ended on ${new Date(notAfterMs).toISOString()}; set the clock, and keep it (timedatectl set-ntp true), or see that the issuer's certificate is current (\`shoal members\` there)`,
  );
}

/** Names both ends that Noise has authenticated: signed for one issuer, it is of no use at another. */
function joinMessage(
  site: string,
  joiner: string,
  issuer: string,
  nonces: readonly Uint8Array[],
  name: string,
): Uint8Array {
  return encode([DOMAIN, site, joiner, issuer, Buffer.concat(nonces), name]);
}

function refused(fault: string): CodedError<"ERR_ADMISSION"> {
  return new CodedError("ERR_ADMISSION", `a peer ${fault}`);
}
