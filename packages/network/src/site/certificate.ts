import type { PeerIdString } from "@shoal/swarm";
import * as z from "zod";
import { parsePeerId } from "../signatures.ts";
import { readDocument, signDocument } from "./signed.ts";
import type { SiteKey } from "./site-key.ts";

/** The longest that a certificate may hold. A revocation is needed for no longer. */
export const LONGEST_CERTIFICATE_MS = 400 * 24 * 3600 * 1000;
export const MAX_CERTIFICATE_BYTES = 1024;
const DOMAIN = "shoal/certificate/1";

/** A member's name: what a host may be called. */
export const MemberNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "write up to 64 letters, digits, dots, dashes, underscores");
/** `member`: admitted; `issuer`: has the site key, so joiners and those whose certificate ends ask it. */
export type Role = "member" | "issuer";

const roles = z
  .array(z.string().regex(/^[a-z-]{1,16}$/))
  .min(1)
  .max(8);
export const SiteIdSchema = z.string().regex(/^[0-9a-f]{32}$/);
export const PeerIdSchema = z
  .string()
  .max(64)
  .refine((text): text is PeerIdString => parsePeerId(text) === text);
/** Wall-clock milliseconds since the epoch. */
export const TimeSchema = z.int().min(0);

const BodySchema = z.tuple([
  z.literal(DOMAIN),
  SiteIdSchema,
  PeerIdSchema,
  MemberNameSchema,
  roles,
  TimeSchema,
  TimeSchema,
]);

/** What the site key says of a member. Made only by {@link issueCertificate} and {@link readCertificate}. */
export interface Certificate {
  readonly site: string;
  readonly peer: PeerIdString;
  readonly name: string;
  /** Those that this version does not know mean nothing to it. */
  readonly roles: readonly string[];
  /** Wall-clock milliseconds. Which certificates a revocation ends goes by it; a clock that is behind does not refuse it. */
  readonly issuedAtMs: number;
  /** Wall-clock milliseconds. */
  readonly notAfterMs: number;
  /** The signed document. */
  readonly document: Uint8Array;
}

export function issueCertificate(
  key: Pick<SiteKey, "sign">,
  fields: Omit<Certificate, "document">,
): Certificate {
  const { site, peer, name, roles: given, issuedAtMs, notAfterMs } = fields;
  const body = BodySchema.parse([DOMAIN, site, peer, name, [...given], issuedAtMs, notAfterMs]);
  return { ...fields, document: signDocument(body, key.sign) };
}

/** @throws ERR_SITE_DOCUMENT when it is damaged, too large, of another key or of another site */
export function readCertificate(
  document: Uint8Array,
  site: { readonly id: string; readonly publicKey: Uint8Array },
): Certificate {
  const [, id, peer, name, given, issuedAtMs, notAfterMs] = readDocument(document, {
    publicKey: site.publicKey,
    schema: BodySchema.refine(
      (body) =>
        body[1] === site.id && body[6] > body[5] && body[6] - body[5] <= LONGEST_CERTIFICATE_MS,
      "of another site, or of a time that can't be",
    ),
    mostBytes: MAX_CERTIFICATE_BYTES,
    what: "certificate",
  });
  return { site: id, peer, name, roles: given, issuedAtMs, notAfterMs, document };
}

export function hasRole(certificate: Pick<Certificate, "roles"> | undefined, role: Role): boolean {
  return certificate?.roles.includes(role) === true;
}
