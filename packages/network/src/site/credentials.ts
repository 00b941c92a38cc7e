import type { Site } from "../site-token.ts";
import { type Certificate, readCertificate } from "./certificate.ts";
import { createNotices, type Notices } from "./notices.ts";

/** By what a peer has shown that it belongs to the site. */
export interface Standing {
  /** It has proved the site's token. */
  readonly token: boolean;
  readonly certificate: Certificate | undefined;
}

/** What a machine keeps of its site beside the token. */
export interface SiteRecord {
  readonly site: Site;
  /** Public half of the site key; absent while the site has a token alone. */
  readonly publicKey?: Uint8Array | undefined;
  /** This machine's certificate. */
  readonly certificate?: Uint8Array | undefined;
  readonly notices: readonly Uint8Array[];
}

export interface CredentialsInit {
  readonly self: string;
  readonly record: SiteRecord;
  /** Key of the token's proofs, where this machine has the token. */
  readonly tokenKey: Uint8Array | undefined;
  /** Wall-clock milliseconds. */
  readonly now: () => number;
}

/** What this machine shows of itself, and by what it judges others. In memory; whoever changes it keeps it. */
export interface Credentials {
  readonly site: Site;
  readonly publicKey: Uint8Array | undefined;
  /** This machine's own. */
  readonly certificate: Certificate | undefined;
  readonly notices:
    | Pick<
        Notices,
        "revocationOf" | "isRevoked" | "tokenEndedMs" | "revocations" | "documents" | "digest"
      >
    | undefined;
  /** Key of the token's proofs, as long as the token admits. */
  tokenKey(): Uint8Array | undefined;
  /** Whether who has this standing is a member now. */
  admits(peer: string, standing: Standing): boolean;
  /**
   * Whether this machine is to dial the peer. Who was revoked is not dialled: if it was let in again, it dials by
   * itself, whoever it is that it knows.
   */
  dials(peer: string): boolean;
  /** A peer's certificate; `undefined` where there is no site key yet to check it with. @throws ERR_SITE_DOCUMENT */
  read(document: Uint8Array, peer: string): Certificate | undefined;
  /** Takes the key of a site that had none. @returns whether it did */
  learnKey(publicKey: Uint8Array): boolean;
  /** @returns whether anything was new. @throws ERR_SITE_DOCUMENT */
  learn(notices: readonly Uint8Array[]): boolean;
  /** Takes what this machine was given. @throws ERR_SITE_DOCUMENT */
  install(record: SiteRecord): void;
  record(): SiteRecord;
}

/** @throws ERR_SITE_DOCUMENT when the record is not of its site */
export function createCredentials(init: CredentialsInit): Credentials {
  const { self, now } = init;
  const { site } = init.record;
  let publicKey: Uint8Array | undefined;
  let notices: Notices | undefined;
  let certificate: Certificate | undefined;

  function read(document: Uint8Array, peer: string): Certificate | undefined {
    if (publicKey === undefined) return undefined;
    const found = readCertificate(document, { id: site.id, publicKey });
    return found.peer === peer ? found : undefined;
  }

  function install(record: SiteRecord): void {
    if (record.publicKey === undefined) return;
    if (publicKey === undefined || Buffer.compare(publicKey, record.publicKey) !== 0) {
      publicKey = record.publicKey;
      notices = createNotices({ id: site.id, publicKey });
      certificate = undefined;
    }
    notices?.merge(record.notices);
    if (record.certificate !== undefined) certificate = read(record.certificate, self);
  }

  install(init.record);
  return {
    site,
    get publicKey() {
      return publicKey;
    },
    get certificate() {
      return certificate;
    },
    get notices() {
      return notices;
    },
    tokenKey: () => (notices?.tokenEndedMs === undefined ? init.tokenKey : undefined),
    admits(peer, standing) {
      if (
        standing.certificate !== undefined &&
        now() < standing.certificate.notAfterMs &&
        notices?.isRevoked(standing.certificate) !== true
      )
        return true;
      return (
        standing.token &&
        notices?.tokenEndedMs === undefined &&
        notices?.revocationOf(peer) === undefined
      );
    },
    dials: (peer) =>
      notices?.revocationOf(peer) === undefined ||
      (notices.revocationOf(self) !== undefined &&
        certificate !== undefined &&
        !notices.isRevoked(certificate)),
    read,
    learnKey(heard) {
      if (publicKey !== undefined) return false;
      install({ site, publicKey: heard, notices: [] });
      return true;
    },
    learn: (documents) => notices?.merge(documents) ?? false,
    install,
    record: () => ({
      site,
      publicKey,
      certificate: certificate?.document,
      notices: notices?.documents ?? [],
    }),
  };
}

/** The newer of what was shown at two times. */
export function bestOf(a: Standing, b: Standing): Standing {
  const newer = (b.certificate?.issuedAtMs ?? -1) > (a.certificate?.issuedAtMs ?? -1) ? b : a;
  return { token: a.token || b.token, certificate: newer.certificate };
}
