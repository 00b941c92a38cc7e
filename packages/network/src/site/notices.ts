import { createHash } from "node:crypto";
import type { PeerIdString } from "@shoal/swarm";
import { encode } from "cborg";
import * as z from "zod";
import { type Certificate, PeerIdSchema, SiteIdSchema, TimeSchema } from "./certificate.ts";
import { readDocument, signDocument } from "./signed.ts";
import type { SiteKey } from "./site-key.ts";

/** Revocations that a site may have; the newest are kept. */
export const MAX_REVOCATIONS = 1000;
/** 1001 of them are well below the frame that they travel in. */
export const MAX_NOTICE_BYTES = 240;
const REVOCATION = "shoal/revocation/1";
const TOKEN_END = "shoal/token-end/1";

const NoticeSchema = z.union([
  z.tuple([z.literal(REVOCATION), SiteIdSchema, PeerIdSchema, TimeSchema]),
  z.tuple([z.literal(TOKEN_END), SiteIdSchema, TimeSchema]),
]);

/** Ends every certificate of the peer that was issued up to `beforeMs`, and its admission by the token. */
export interface Revocation {
  readonly peer: PeerIdString;
  readonly beforeMs: number;
}

/** What the site key has said for all members to heed. It only grows, so it has no order and can't be set back. */
export interface Notices {
  /** What the revocation of a peer says, if there is one. */
  revocationOf(peer: string): Revocation | undefined;
  isRevoked(certificate: Pick<Certificate, "peer" | "issuedAtMs">): boolean;
  /** Since when the token admits nobody. */
  readonly tokenEndedMs: number | undefined;
  readonly revocations: readonly Revocation[];
  /** All, signed. Two members whose digests are the same know the same. */
  readonly documents: readonly Uint8Array[];
  readonly digest: Uint8Array;
  /** @returns whether anything of it was new. @throws ERR_SITE_DOCUMENT, and nothing is taken then */
  merge(documents: readonly Uint8Array[]): boolean;
}

export function createNotices(site: {
  readonly id: string;
  readonly publicKey: Uint8Array;
}): Notices {
  const revoked = new Map<string, Revocation & { readonly document: Uint8Array }>();
  let tokenEnd: { readonly atMs: number; readonly document: Uint8Array } | undefined;
  let documents: readonly Uint8Array[] = [];
  let digest = digestOf(documents);

  function read(document: Uint8Array): z.infer<typeof NoticeSchema> {
    return readDocument(document, {
      publicKey: site.publicKey,
      schema: NoticeSchema.refine((body) => body[1] === site.id, "of another site"),
      mostBytes: MAX_NOTICE_BYTES,
      what: "notice",
    });
  }

  function take(body: z.infer<typeof NoticeSchema>, document: Uint8Array): void {
    if (body[0] === REVOCATION) {
      const [, , peer, beforeMs] = body;
      if (beforeMs > (revoked.get(peer)?.beforeMs ?? -1))
        revoked.set(peer, { peer, beforeMs, document });
    } else if (body[2] < (tokenEnd?.atMs ?? Number.POSITIVE_INFINITY))
      tokenEnd = { atMs: body[2], document };
  }

  /** By what they say, and never by when they came: all members that have heard the same keep the same. */
  function forgetOldest(): void {
    if (revoked.size <= MAX_REVOCATIONS) return;
    const kept = Array.from(revoked.values())
      .sort((a, b) => b.beforeMs - a.beforeMs || (a.peer < b.peer ? -1 : 1))
      .slice(0, MAX_REVOCATIONS);
    revoked.clear();
    for (const each of kept) revoked.set(each.peer, each);
  }

  return {
    revocationOf: (peer) => revoked.get(peer),
    isRevoked: ({ peer, issuedAtMs }) => issuedAtMs <= (revoked.get(peer)?.beforeMs ?? -1),
    get tokenEndedMs() {
      return tokenEnd?.atMs;
    },
    get revocations() {
      return [...revoked.values()];
    },
    get documents() {
      return documents;
    },
    get digest() {
      return digest;
    },
    merge(added) {
      const known = new Set(documents.map(hex));
      const fresh = added.filter((document) => !known.has(hex(document)));
      const bodies = fresh.map((document) => [read(document), document] as const);
      for (const [body, document] of bodies) take(body, document);
      forgetOldest();
      documents = [
        ...(tokenEnd === undefined ? [] : [tokenEnd.document]),
        ...Array.from(revoked.values(), ({ document }) => document),
      ].sort(Buffer.compare);
      const before = digest;
      digest = digestOf(documents);
      return Buffer.compare(before, digest) !== 0;
    },
  };
}

/** A revocation of whatever the peer was given up to now. */
export function signRevocation(
  key: Pick<SiteKey, "sign">,
  site: string,
  { peer, beforeMs }: Revocation,
): Uint8Array {
  return signDocument([REVOCATION, site, peer, beforeMs], key.sign);
}

/** From when it is heard of on, the site's token admits nobody. */
export function signTokenEnd(key: Pick<SiteKey, "sign">, site: string, atMs: number): Uint8Array {
  return signDocument([TOKEN_END, site, atMs], key.sign);
}

function hex(document: Uint8Array): string {
  return Buffer.from(document).toString("hex");
}

function digestOf(documents: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(createHash("sha256").update(encode(documents)).digest());
}
