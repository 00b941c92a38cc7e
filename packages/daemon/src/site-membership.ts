import type { JoinOutcome, JoinRequest } from "@shoal/api";
import {
  createSiteToken,
  type Network,
  parseSiteToken,
  siteOf,
  type SiteToken,
} from "@shoal/network";
import { type AuditLog, CodedError, hasCode, type Logger, noAuditLog } from "@shoal/runtime";
import { readTokenFile, writeTokenFile } from "./site-token-file.ts";

/** Which site this machine belongs to; what is changed is kept in the token's file and applied at once. */
export interface SiteMembership {
  /** Public name of the site. */
  id(): string | undefined;
  /** The site's token; the first to ask makes the site. @throws ERR_TOKEN_FILE, ERR_PORT_IN_USE */
  token(): Promise<SiteToken>;
  /**
   * Joins the token's site. A machine that is in another one leaves it only for a request that says
   * `replace`, since its token may be kept nowhere else.
   * @throws ERR_TOKEN_INVALID, ERR_SITE_MEMBER, ERR_TOKEN_FILE, ERR_PORT_IN_USE
   */
  join(request: JoinRequest): Promise<JoinOutcome>;
}

export interface SiteMembershipComponents {
  readonly network: Pick<Network, "join">;
  readonly logger: Logger;
  /** @default nowhere */
  readonly audit?: AuditLog;
}

export interface SiteMembershipInit {
  readonly tokenFile: string;
  /** Of the site that the network has begun with. */
  readonly token: SiteToken | undefined;
}

export function createSiteMembership(
  { network, logger, audit = noAuditLog }: SiteMembershipComponents,
  { tokenFile, token: initial }: SiteMembershipInit,
): SiteMembership {
  let last: Promise<unknown> = Promise.resolve();
  /** The site that the network is in; the file may have been changed by hand since. */
  let entered = initial;

  /** One change at a time: two that make a site at once would show two tokens, of which one is no site's. */
  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return await turn;
  }

  async function enter(token: SiteToken): Promise<void> {
    await writeTokenFile(tokenFile, token, async () => await network.join(token));
    entered = token;
  }

  async function make(): Promise<SiteToken> {
    const token = createSiteToken();
    await enter(token);
    logger.info({ site: siteOf(token).id }, "this machine has made a site");
    audit.record({ kind: "join", site: siteOf(token).id, made: true });
    return token;
  }

  async function change(token: SiteToken, replace: boolean): Promise<JoinOutcome> {
    const site = siteOf(token).id;
    const kept = await readTokenFile(tokenFile);
    if (kept === token && entered === token) return { outcome: "already-member", site };
    if (kept === undefined || kept === token) {
      await enter(token);
      logger.info({ site }, "this machine has joined a site");
      audit.record({ kind: "join", site });
      return { outcome: "joined", site };
    }
    const left = siteOf(kept).id;
    if (!replace)
      throw new CodedError(
        "ERR_SITE_MEMBER",
        `this machine is in site ${left.slice(0, 8)} already, and would forget its token; keep that (\`shoal token\`) unless another member has it, then join with --replace`,
        { details: { site: left } },
      );
    await enter(token);
    logger.info({ site, left }, "this machine has left a site for another");
    audit.record({ kind: "join", site, left });
    return { outcome: "moved", site, left };
  }

  return {
    id: () => (entered === undefined ? undefined : siteOf(entered).id),
    token: async () => await inTurn(async () => (await readTokenFile(tokenFile)) ?? (await make())),
    async join({ token: text, replace }) {
      const token = parseSiteToken(text);
      return await inTurn(async () => await change(token, replace === true));
    },
  };
}

/**
 * The token to start with: the file's, else `SHOAL_TOKEN`, which is kept in the file then.
 * @throws ERR_TOKEN_INVALID, ERR_TOKEN_FILE
 */
export async function initialToken(
  components: { readonly logger: Logger },
  tokenFile: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<SiteToken | undefined> {
  const kept = await readTokenFile(tokenFile);
  const text = env["SHOAL_TOKEN"];
  if (text === undefined || text === "") return kept;
  const given = parseFrom("SHOAL_TOKEN", text);
  if (kept === undefined) await writeTokenFile(tokenFile, given);
  else if (kept !== given)
    components.logger.warn(
      { tokenFile },
      "SHOAL_TOKEN is of another site than the token's file, which counts; shoal join changes sites",
    );
  return kept ?? given;
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
