import type { PeerIdString } from "@shoal/swarm";
import { createEphemeralIdentity, createSiteToken, siteOf } from "../../src/index.ts";
import { type Certificate, issueCertificate } from "../../src/site/certificate.ts";
import { createSiteKeySeed, siteKeyOf } from "../../src/site/site-key.ts";

export const DAY_MS = 24 * 3600 * 1000;
export const NOW_MS = Date.parse("2026-01-01T00:00:00Z");

/** A site with its key. */
export function createKeyedSite() {
  const token = createSiteToken();
  const site = siteOf(token);
  const key = siteKeyOf(createSiteKeySeed());
  return {
    token,
    site,
    key,
    verifier: { id: site.id, publicKey: key.publicKey },
    certify: (
      peer: PeerIdString,
      change: Partial<Omit<Certificate, "document">> = {},
    ): Certificate =>
      issueCertificate(key, {
        site: site.id,
        peer,
        name: "machine",
        roles: ["member"],
        issuedAtMs: NOW_MS,
        notAfterMs: NOW_MS + 90 * DAY_MS,
        ...change,
      }),
  };
}

export async function createPeerId(): Promise<PeerIdString> {
  return (await createEphemeralIdentity()).peerId;
}
