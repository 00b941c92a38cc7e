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
  issue(
    key: Pick<SiteKey, "sign">,
    to: Pick<Certificate, "site" | "peer" | "name" | "roles">,
    afterMs: number,
  ): Certificate;
}

/** @param lifetimeMs of certificates @param site the one that this machine is in */
export function createIssuing(
  { keyFile, tokens, known, clock, audit }: IssuingComponents,
  init: { readonly lifetimeMs: number; readonly site: () => string },
): Issuing {
  const lifetimeMs = Math.min(LONGEST_CERTIFICATE_MS, init.lifetimeMs);

  const issue: Issuing["issue"] = (key, { site, peer, name, roles }, afterMs) => {
    const issuedAtMs = Math.max(Math.floor(clock.wallNow()), afterMs + 1);
    const notAfterMs = issuedAtMs + lifetimeMs;
    const certificate = issueCertificate(key, { site, peer, name, roles, issuedAtMs, notAfterMs });
    known.saw(certificate);
    return certificate;
  };

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
      const certificate = issue(
        key,
        { site, peer, name: known.freeName(name, peer), roles: ["member"] },
        Math.max(afterMs, lastMs),
      );
      recorded(certificate, id);
      return certificate;
    },
    async renew(certificate) {
      const key = await keyFile.read(certificate.site);
      if (key === undefined) return undefined;
      const renewed = issue(key, certificate, certificate.issuedAtMs);
      recorded(renewed);
      return renewed;
    },
  };
}
