import {
  type Certificate,
  issueCertificate,
  type Issuer,
  LONGEST_CERTIFICATE_MS,
  type SiteKey,
} from "@shoal/network";
import type { AuditLog, Clock, Logger } from "@shoal/runtime";
import type { JoinTokens } from "./join-tokens.ts";
import type { KnownMembers } from "./known-members.ts";
import type { SiteKeyFile } from "./site-key-file.ts";

const WEEK_MS = 7 * 24 * 3600 * 1000;

export interface IssuingComponents {
  readonly keyFile: SiteKeyFile;
  readonly tokens: JoinTokens;
  readonly known: KnownMembers;
  readonly clock: Pick<Clock, "wallNow">;
  readonly logger: Logger;
  readonly audit: AuditLog;
}

/** Gives certificates by the site key, as far as that is on this machine. */
export interface Issuing extends Issuer {
  /** @param afterMs its time is later than this @param atMs its time, where that is later. @default now */
  issue(
    key: Pick<SiteKey, "sign">,
    to: Pick<Certificate, "site" | "peer" | "name" | "roles">,
    afterMs: number,
    atMs?: number,
  ): Certificate;
}

/** @param lifetimeMs of certificates @param site the one that this machine is in */
export function createIssuing(
  { keyFile, tokens, known, clock, audit }: IssuingComponents,
  init: { readonly lifetimeMs: number; readonly site: () => string },
): Issuing {
  const lifetimeMs = Math.min(LONGEST_CERTIFICATE_MS, init.lifetimeMs);

  const issue: Issuing["issue"] = (key, to, afterMs, atMs = clock.wallNow()) => {
    const { site, peer, name, roles } = to;
    const issuedAtMs = Math.max(Math.floor(atMs), afterMs + 1);
    const fromMs = Math.max(Math.floor(clock.wallNow()), issuedAtMs);
    const notAfterMs = Math.min(fromMs + lifetimeMs, issuedAtMs + LONGEST_CERTIFICATE_MS);
    const certificate = issueCertificate(key, { site, peer, name, roles, issuedAtMs, notAfterMs });
    known.saw(certificate);
    return certificate;
  };

  /**
   * When a certificate is dated whose machine has one that is good. Another issuer may have revoked it without this
   * one having heard of it: the revocation has to end what is given meanwhile, too.
   */
  const datedBack = (): number => clock.wallNow() - Math.min(WEEK_MS, lifetimeMs / 10);

  /** @param token by which it was asked for */
  function recorded({ peer, name, notAfterMs }: Certificate, token?: string): void {
    const until = new Date(notAfterMs).toISOString();
    audit.record({
      kind: "certificate",
      peer,
      name,
      ...(token === undefined ? {} : { token }),
      until,
    });
  }

  return {
    issue,
    joinKey: (id, peer, revocationOf) =>
      tokens.joinKey(id, peer, (user, sinceMs) => (revocationOf(user)?.beforeMs ?? -1) >= sinceMs),
    async admit(id, peer, name, afterMs) {
      const site = init.site();
      const key = await keyFile.need(site);
      await tokens.use(id, peer);
      // A clock that was set back must not make the newer certificate the older one.
      const lastMs = known.list().find((member) => member.peer === peer)?.issuedAtMs ?? 0;
      const to = { site, peer, name: known.freeName(name, peer), roles: ["member"] };
      const certificate =
        lastMs > afterMs ? issue(key, to, lastMs, datedBack()) : issue(key, to, afterMs);
      recorded(certificate, id);
      return certificate;
    },
    async renew(certificate) {
      const key = await keyFile.read(certificate.site);
      if (key === undefined) return undefined;
      const renewed = issue(key, certificate, certificate.issuedAtMs, datedBack());
      recorded(renewed);
      return renewed;
    },
  };
}
