import type { JoinOutcome, JoinRequest } from "@shoal/api";
import {
  createSiteToken,
  isJoinToken,
  type Network,
  parseJoinToken,
  parseSiteToken,
  siteOf,
  type SiteRecord,
  type SiteToken,
} from "@shoal/network";
import {
  type AuditLog,
  CodedError,
  createTurns,
  type InTurn,
  hasCode,
  type Logger,
  noAuditLog,
} from "@shoal/runtime";
import { machineName } from "./site/known-members.ts";
import type { MembershipFile } from "./site/membership-file.ts";
import {
  isForEveryUser,
  readTokenFile,
  removeTokenFile,
  writeTokenFile,
} from "./site-token-file.ts";

/** Which site this machine belongs to; what is changed is kept in the site's files and applied at once. */
export interface SiteMembership {
  /** Public name of the site. */
  id(): string | undefined;
  /** The site's token; the first to ask makes the site. @throws ERR_SITE_NO_TOKEN, ERR_TOKEN_FILE, ERR_PORT_IN_USE */
  token(): Promise<SiteToken>;
  /**
   * Joins the site of a token or a join token. A machine that is in another one leaves it only for a request that
   * says `replace`, since its token may be kept nowhere else.
   * @throws ERR_TOKEN_INVALID, ERR_SITE_MEMBER, ERR_JOIN, ERR_TOKEN_FILE, ERR_SITE_FILE, ERR_PORT_IN_USE
   */
  join(request: JoinRequest): Promise<JoinOutcome>;
}

export interface SiteMembershipComponents {
  readonly network: Pick<Network, "self" | "members" | "join" | "redeem" | "enter" | "credentials">;
  readonly membershipFile: Pick<MembershipFile, "remove">;
  /** Of all that changes the site: two changes at once would show two tokens, of which one is no site's. @default of this alone */
  readonly inTurn?: InTurn;
  readonly logger: Logger;
  /** @default nowhere */
  readonly audit?: AuditLog;
}

export interface SiteMembershipInit {
  readonly tokenFile: string;
}

export function createSiteMembership(
  components: SiteMembershipComponents,
  { tokenFile }: SiteMembershipInit,
): SiteMembership {
  const { network, membershipFile, logger } = components;
  const { inTurn = createTurns(), audit = noAuditLog } = components;

  /** The site that the network is in; the token's file may have been changed by hand since. */
  const entered = (): string | undefined => network.credentials()?.site.id;

  async function enter(token: SiteToken): Promise<void> {
    await writeTokenFile(tokenFile, token, async () => await network.join(token));
    // Not before the token is in its place: a machine that fails in between would be in no site.
    await membershipFile.remove();
  }

  async function make(): Promise<SiteToken> {
    const token = createSiteToken();
    await enter(token);
    logger.info({ site: siteOf(token).id }, "this machine has made a site");
    audit.record({ kind: "join", site: siteOf(token).id, made: true });
    return token;
  }

  async function tokenOf(): Promise<SiteToken> {
    const credentials = network.credentials();
    if (credentials?.notices?.tokenEndedMs !== undefined) throw noToken();
    const kept = await readTokenFile(tokenFile);
    const hasKey = credentials?.publicKey !== undefined;
    // One of another site, beside a certificate, was left behind.
    if (kept !== undefined && (!hasKey || siteOf(kept).id === entered())) return kept;
    if (hasKey) throw noToken();
    return await make();
  }

  async function joinByToken(token: SiteToken, replace: boolean): Promise<JoinOutcome> {
    const site = siteOf(token).id;
    const current = entered();
    if (current === site) {
      // A token that was changed by hand is this site's again.
      if ((await readTokenFile(tokenFile)) !== token && !isCertified()) await enter(token);
      return { outcome: "already-member", site };
    }
    const kept = await readTokenFile(tokenFile);
    const left = current ?? (kept === undefined || kept === token ? undefined : siteOf(kept).id);
    if (left !== undefined && !replace) throw isMember(left);
    await enter(token);
    logger.info({ site, left }, "this machine has joined a site");
    audit.record({ kind: "join", site, ...(left === undefined ? {} : { left }) });
    return left === undefined ? { outcome: "joined", site } : { outcome: "moved", site, left };
  }

  function isCertified(): boolean {
    const credentials = network.credentials();
    const certificate = credentials?.certificate;
    return (
      certificate !== undefined && credentials!.admits(network.self, { token: false, certificate })
    );
  }

  async function joinByCertificate(
    text: string,
    name: string,
    replace: boolean,
  ): Promise<JoinOutcome> {
    const token = parseJoinToken(text);
    const current = network.credentials()?.site;
    const isHere =
      current !== undefined && Buffer.compare(current.prologue, token.site.prologue) === 0;
    // Who was revoked has not heard of it, and is alone.
    if (isHere && isCertified() && network.members().length > 0)
      return { outcome: "already-member", site: current.id };
    const left = isHere ? undefined : current?.id;
    if (left !== undefined && !replace) throw isMember(left);
    const { record, certificate, token: given } = await network.redeem(token, name);
    await keep(record, given, isHere);
    const { site, notAfterMs } = certificate;
    logger.info({ site, left, name: certificate.name }, "this machine was given a certificate");
    const leaving = left === undefined ? {} : { left };
    audit.record({ kind: "join", site, ...leaving, name: certificate.name });
    return {
      outcome: left === undefined ? "joined" : "moved",
      site,
      ...leaving,
      name: certificate.name,
      notAfter: new Date(notAfterMs).toISOString(),
    };
  }

  async function keep(
    record: SiteRecord,
    given: string | undefined,
    isHere: boolean,
  ): Promise<void> {
    const token = given === undefined ? undefined : parseSiteToken(given);
    if (token !== undefined && siteOf(token).id === record.site.id)
      await writeTokenFile(tokenFile, token, async () => await network.enter(record, token));
    else {
      await network.enter(record);
      if (!isHere) await removeTokenFile(tokenFile);
    }
  }

  return {
    id: entered,
    token: async () => await inTurn(tokenOf),
    async join({ token: text, name = machineName(), replace = false }) {
      if (isJoinToken(text))
        return await inTurn(async () => await joinByCertificate(text, name, replace));
      const token = parseSiteToken(text);
      return await inTurn(async () => await joinByToken(token, replace));
    },
  };
}

function isMember(left: string): CodedError<"ERR_SITE_MEMBER"> {
  return new CodedError(
    "ERR_SITE_MEMBER",
    `this machine is in site ${left.slice(0, 8)} already, and would forget its token or certificate; keep the token (\`shoal token\`) unless another member has it, then join with --replace`,
    { details: { site: left } },
  );
}

function noToken(): CodedError<"ERR_SITE_NO_TOKEN"> {
  return new CodedError(
    "ERR_SITE_NO_TOKEN",
    "no token admits to this site, only certificates; run `shoal token create` where `shoal members` shows the role issuer, and `shoal join` with that",
  );
}

/**
 * The token to start with: the file's, else `SHOAL_TOKEN`, which is kept in the file then.
 * @param record what is kept of the site; with a certificate, another site's `SHOAL_TOKEN` is not for it
 * @throws ERR_TOKEN_INVALID, ERR_TOKEN_FILE
 */
export async function initialToken(
  components: { readonly logger: Logger },
  tokenFile: string,
  env: Readonly<Record<string, string | undefined>>,
  record?: SiteRecord,
): Promise<SiteToken | undefined> {
  const kept = await readTokenFile(tokenFile);
  if (kept !== undefined && (await isForEveryUser(tokenFile)))
    components.logger.warn(
      { tokenFile },
      "every user can read the site's token, and join the site by it; chmod 600 it",
    );
  const text = env["SHOAL_TOKEN"];
  if (text === undefined || text === "") return kept;
  const given = parseFrom("SHOAL_TOKEN", text);
  const isOther = record?.certificate !== undefined && record.site.id !== siteOf(given).id;
  if (kept === undefined && !isOther) await writeTokenFile(tokenFile, given);
  else if (kept !== given)
    components.logger.warn(
      { tokenFile },
      "SHOAL_TOKEN is of another site than this machine's, which counts; shoal join changes sites",
    );
  return kept ?? (isOther ? undefined : given);
}

/** @throws ERR_TOKEN_INVALID that names where the text is from */
function parseFrom(source: string, text: string): SiteToken {
  try {
    return parseSiteToken(text);
  } catch (error) {
    if (!hasCode(error, "ERR_TOKEN_INVALID")) throw error;
    throw new CodedError(error.code, `${source}: ${error.message}`, { cause: error });
  }
}
