import type {
  EndTokenRequest,
  JoinTokenMade,
  JoinTokenRequest,
  Member,
  MemberList,
  Revoked,
  SiteMade,
  TokenEnded,
} from "@shoal/api";
import {
  createJoinToken,
  createSiteToken,
  hasRole,
  LONGEST_CERTIFICATE_MS,
  MAX_REVOCATIONS,
  type Network,
  parseJoinToken,
  parsePeerId,
  signRevocation,
  signTokenEnd,
  type Site,
  type SiteKey,
  siteOf,
} from "@shoal/network";
import { CodedError, type InTurn } from "@shoal/runtime";
import type { Issuing, IssuingComponents } from "./issuing.ts";
import { machineName } from "./known-members.ts";

const DEFAULT_TTL_SECONDS = 24 * 3600;

/** What an operator decides about a site, where its key is. */
export interface SiteOffice {
  /**
   * Makes the site key, and of a machine without a site one. Where the site's key has been brought, the machine
   * becomes an issuer.
   * @throws ERR_SITE_KEY, ERR_SITE_FILE
   */
  init(request: { readonly name?: string | undefined }): Promise<SiteMade>;
  /** @throws ERR_SITE_KEY, ERR_JOIN_TOKENS, ERR_SITE_FILE */
  createToken(request: JoinTokenRequest): Promise<JoinTokenMade>;
  members(): MemberList;
  /** Puts a member out, by its name or peer id. @throws ERR_MEMBER_NOT_FOUND, ERR_SITE_KEY, ERR_REVOKE */
  revoke(member: string): Promise<Revoked>;
  /** From now on the site's token admits nobody. @throws ERR_SITE_KEY, ERR_TOKEN_IN_USE */
  endToken(request: EndTokenRequest): Promise<TokenEnded>;
}

export interface SiteOfficeComponents extends IssuingComponents {
  readonly network: Pick<
    Network,
    "self" | "credentials" | "certificateOf" | "members" | "enter" | "announce"
  >;
  readonly issuing: Pick<Issuing, "issue">;
  /** Of all that takes this machine into a site. */
  readonly inTurn: InTurn;
}

export function createSiteOffice(components: SiteOfficeComponents): SiteOffice {
  const { network, issuing, inTurn, keyFile, tokens, known, clock, logger, audit } = components;

  function keyedSite() {
    const credentials = network.credentials();
    if (credentials?.publicKey === undefined)
      throw new CodedError(
        "ERR_SITE_KEY",
        "this site has no key, only its token; run `shoal site init` on the machine that shall admit members",
      );
    const { site, publicKey, notices, certificate } = credentials;
    return { site, publicKey, notices, certificate };
  }

  /** The peer that is meant by a name or a peer id. */
  function find(member: string): {
    peer: NonNullable<ReturnType<typeof parsePeerId>>;
    name?: string;
  } {
    const peer = parsePeerId(member);
    const named = known.list().filter((each) => each.name === member || each.peer === peer);
    if (peer !== undefined) return { peer, ...(named[0] && { name: named[0].name }) };
    if (named.length > 1)
      throw new CodedError(
        "ERR_MEMBER_NOT_FOUND",
        `${named.length} members are called ${member}: ${named.map((each) => each.peer).join(", ")}; write the peer id of the one you mean`,
      );
    const [only] = named;
    if (only === undefined)
      throw new CodedError(
        "ERR_MEMBER_NOT_FOUND",
        `no member is called ${member}; see \`shoal members\`, or \`shoal peers\` for the peer id of one without a certificate`,
      );
    return { peer: parsePeerId(only.peer)!, name: only.name };
  }

  function ensureRoom(nowMs: number): void {
    const revocations = network.credentials()?.notices?.revocations ?? [];
    const needed = revocations.filter(({ beforeMs }) => beforeMs + LONGEST_CERTIFICATE_MS > nowMs);
    if (needed.length >= MAX_REVOCATIONS)
      throw new CodedError(
        "ERR_REVOKE",
        `${MAX_REVOCATIONS} revocations are in force, and each further one would undo the oldest; make a new site (\`shoal site init\` on a machine without one) and join its machines anew`,
      );
  }

  async function become(
    { id, serviceTag, prologue }: Site,
    key: SiteKey,
    name: string,
    afterMs: number,
    notices: readonly Uint8Array[] = [],
  ): Promise<SiteMade> {
    const to = { site: id, peer: network.self, name, roles: ["member", "issuer"] };
    const certificate = issuing.issue(key, to, afterMs);
    await network.enter({
      site: { id, serviceTag, prologue },
      publicKey: key.publicKey,
      certificate: certificate.document,
      notices,
    });
    logger.info({ site: id, keyFile: keyFile.path }, "this machine is an issuer of the site");
    return { site: id, name, notAfter: iso(certificate.notAfterMs), keyFile: keyFile.path };
  }

  /** The key of a site that has one was brought to this machine. */
  async function becomeAnother(
    site: Site,
    publicKey: Uint8Array,
    name?: string,
  ): Promise<SiteMade> {
    const key = await keyFile.read(site.id);
    if (key === undefined || Buffer.compare(key.publicKey, publicKey) !== 0)
      throw new CodedError(
        "ERR_SITE_KEY",
        `site ${site.id.slice(0, 8)} has a key already, which is not this machine's; see \`shoal members\` for who is its issuer`,
      );
    const { certificate, notices } = network.credentials()!;
    const revokedMs = notices?.revocationOf(network.self)?.beforeMs ?? 0;
    const called = name ?? certificate?.name ?? known.freeName(machineName(), network.self);
    return await become(site, key, called, Math.max(certificate?.issuedAtMs ?? 0, revokedMs));
  }

  async function makeKey(name?: string): Promise<SiteMade> {
    const current = network.credentials();
    if (current?.publicKey !== undefined)
      return await becomeAnother(current.site, current.publicKey, name);
    const site = current?.site ?? siteOf(createSiteToken());
    const key = await keyFile.create(site.id);
    // Nobody has the token that a new site's name was made from.
    const ended = [signTokenEnd(key, site.id, Math.floor(clock.wallNow()))];
    const notices = current === undefined ? ended : [];
    try {
      return await become(site, key, name ?? machineName(), 0, notices);
    } catch (error) {
      // It is nobody's key yet, and would be in the way of the next.
      await keyFile.remove();
      throw error;
    }
  }

  return {
    init: async ({ name }) => await inTurn(async () => await makeKey(name)),
    async createToken({ uses = 1, ttlSeconds = DEFAULT_TTL_SECONDS }) {
      const { site, publicKey, certificate } = keyedSite();
      await keyFile.need(site.id);
      if (!hasRole(certificate, "issuer"))
        throw new CodedError(
          "ERR_SITE_KEY",
          "this machine has the site key and no certificate as an issuer; make join tokens where `shoal site init` was run",
        );
      const text = createJoinToken(site, publicKey);
      const token = parseJoinToken(text);
      const notAfterMs = clock.wallNow() + ttlSeconds * 1000;
      await tokens.add({ id: token.id, publicKey: token.publicKey, uses, notAfterMs });
      logger.info({ token: token.id, uses, ttlSeconds }, "a join token was made");
      audit.record({ kind: "join-token", token: token.id, uses, until: iso(notAfterMs) });
      return { token: text, uses, expiresAt: iso(notAfterMs) };
    },
    members() {
      const credentials = network.credentials();
      const up = new Set<string>([network.self, ...network.members()]);
      const revocationOf = (peer: string) => credentials?.notices?.revocationOf(peer);
      const own = credentials?.certificate;
      const certified = new Map(known.list().map((each) => [each.peer, each]));
      if (own !== undefined) certified.set(own.peer, { ...own, roles: [...own.roles] });
      for (const peer of up) {
        const shown = network.certificateOf(peer as typeof network.self);
        if (shown !== undefined) certified.set(peer, { ...shown, roles: [...shown.roles] });
      }
      const members = [...certified.values()].map(
        ({ peer, name, roles, issuedAtMs, notAfterMs }): Member => ({
          peer,
          name,
          roles: [...roles],
          state: up.has(peer) ? "up" : "down",
          notAfter: iso(notAfterMs),
          ...(issuedAtMs <= (revocationOf(peer)?.beforeMs ?? -1)
            ? { revokedAt: iso(revocationOf(peer)!.beforeMs) }
            : {}),
        }),
      );
      const byToken = [...up]
        .filter((peer) => !certified.has(peer))
        .map((peer): Member => ({ peer, roles: [], state: "up" }));
      const nameless = (credentials?.notices?.revocations ?? [])
        .filter(({ peer }) => !certified.has(peer))
        .map(
          ({ peer, beforeMs }): Member => ({
            peer,
            roles: [],
            state: "down",
            revokedAt: iso(beforeMs),
          }),
        );
      const endedMs = credentials?.notices?.tokenEndedMs;
      return {
        self: network.self,
        ...(credentials === undefined ? {} : { site: credentials.site.id }),
        keyed: credentials?.publicKey !== undefined,
        ...(endedMs === undefined ? {} : { tokenEndedAt: iso(endedMs) }),
        members: [...members, ...byToken, ...nameless],
      };
    },
    async revoke(member) {
      const { site } = keyedSite();
      const key = await keyFile.need(site.id);
      const { peer, name } = find(member);
      if (peer === network.self)
        throw new CodedError(
          "ERR_REVOKE",
          "this machine can't revoke itself; do it on another machine that has the site key",
        );
      const nowMs = Math.floor(clock.wallNow());
      ensureRoom(nowMs);
      // Its certificate may be of a clock that is ahead.
      const issuedMs = known.list().find((each) => each.peer === peer)?.issuedAtMs ?? 0;
      const beforeMs = Math.max(nowMs, issuedMs);
      await network.announce([signRevocation(key, site.id, { peer, beforeMs })]);
      logger.warn({ peer, name }, "a member was revoked");
      return { peer, ...(name === undefined ? {} : { name }), revokedAt: iso(beforeMs) };
    },
    async endToken({ force = false }) {
      const { site, notices } = keyedSite();
      const key = await keyFile.need(site.id);
      const left = network.members().filter((peer) => network.certificateOf(peer) === undefined);
      if (left.length > 0 && !force)
        throw new CodedError(
          "ERR_TOKEN_IN_USE",
          `${left.length === 1 ? "a member that is up has" : `${left.length} members that are up have`} nothing but the token: ${left.slice(0, 5).join(", ")}; give certificates by \`shoal token create\` and \`shoal join\` there, or put them out with --force`,
        );
      const atMs = Math.floor(clock.wallNow());
      if (notices?.tokenEndedMs === undefined)
        await network.announce([signTokenEnd(key, site.id, atMs)]);
      logger.warn({ site: site.id }, "the site's token admits nobody any more");
      return { site: site.id, endedAt: iso(notices?.tokenEndedMs ?? atMs) };
    },
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
