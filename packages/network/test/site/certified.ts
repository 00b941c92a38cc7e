import type { AuditLog } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import {
  createEphemeralIdentity,
  type Identity,
  type Network,
  type NetworkInit,
} from "../../src/index.ts";
import { type Certificate, issueCertificate } from "../../src/site/certificate.ts";
import type { SiteRecord } from "../../src/site/credentials.ts";
import type { Issuer } from "../../src/site/join-exchange.ts";
import { createMember } from "../support.ts";
import type { createKeyedSite } from "./support.ts";

export type KeyedSite = ReturnType<typeof createKeyedSite>;
const HOUR_MS = 3600 * 1000;

export interface CertifiedInit extends NetworkInit {
  readonly identity?: Identity;
  readonly change?: Partial<Omit<Certificate, "document">>;
  readonly notices?: readonly Uint8Array[];
  readonly issuer?: Issuer;
  readonly audit?: AuditLog;
}

/** A started member with a certificate, and without the token unless it is given. */
export async function createCertified(
  { site, key }: Pick<KeyedSite, "site" | "key">,
  init: CertifiedInit = {},
): Promise<{ network: Network; kept: SiteRecord[] } & AsyncDisposable> {
  const {
    identity = await createEphemeralIdentity(),
    change,
    notices = [],
    issuer,
    audit,
    ...rest
  } = init;
  const times = { issuedAtMs: Date.now(), notAfterMs: Date.now() + HOUR_MS };
  const { document: certificate } = issueCertificate(key, {
    site: site.id,
    peer: identity.peerId,
    name: "machine",
    roles: ["member"],
    ...times,
    ...change,
  });
  const kept: SiteRecord[] = [];
  const network = await createMember(
    { record: { site, publicKey: key.publicKey, certificate, notices }, ...rest },
    {
      identity,
      keepRecord: async (record) => void kept.push(record),
      ...(issuer === undefined ? {} : { issuer }),
      ...(audit === undefined ? {} : { audit }),
    },
  );
  return {
    network,
    kept,
    async [Symbol.asyncDispose]() {
      await network[Symbol.asyncDispose]();
    },
  };
}

/** Gives certificates for an hour to whoever has one of the join tokens. */
export function createIssuer(
  { site, key }: KeyedSite,
  joinKeys: Map<string, Uint8Array>,
): Issuer & { readonly given: Certificate[] } {
  const given: Certificate[] = [];
  const issue = (peer: PeerIdString, name: string, afterMs: number): Certificate => {
    const issuedAtMs = Math.max(Date.now(), afterMs + 1);
    const times = { issuedAtMs, notAfterMs: issuedAtMs + HOUR_MS };
    const certificate = issueCertificate(key, {
      site: site.id,
      peer,
      name,
      roles: ["member"],
      ...times,
    });
    given.push(certificate);
    return certificate;
  };
  return {
    given,
    joinKey: (id) => joinKeys.get(id),
    admit: async (_id, peer, name, afterMs) => issue(peer, name, afterMs),
    renew: async ({ peer, name }) => issue(peer, name, 0),
  };
}
