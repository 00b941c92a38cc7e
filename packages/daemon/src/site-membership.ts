import { createSiteToken, type Network, parseSiteToken, type SiteToken } from "@shoal/network";
import type { Logger } from "@shoal/runtime";
import { readTokenFile, writeTokenFile } from "./site-token-file.ts";

/** Which site this machine belongs to; what is changed is kept in the token's file and applied at once. */
export interface SiteMembership {
  /** The site's token; the first to ask makes the site. @throws ERR_TOKEN_FILE, ERR_PORT_IN_USE */
  token(): Promise<SiteToken>;
  /** Leaves this site for the token's. @throws ERR_TOKEN_INVALID, ERR_TOKEN_FILE, ERR_PORT_IN_USE */
  join(text: string): Promise<void>;
}

export function createSiteMembership(
  network: Pick<Network, "join">,
  tokenFile: string,
): SiteMembership {
  let last: Promise<unknown> = Promise.resolve();

  /** One change at a time: two that make a site at once would show two tokens, of which one is no site's. */
  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return await turn;
  }

  async function enter(token: SiteToken): Promise<SiteToken> {
    await writeTokenFile(tokenFile, token, async () => await network.join(token));
    return token;
  }

  return {
    token: async () =>
      await inTurn(
        async () => (await readTokenFile(tokenFile)) ?? (await enter(createSiteToken())),
      ),
    async join(text) {
      const token = parseSiteToken(text);
      await inTurn(async () => await enter(token));
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
  const given = parseSiteToken(text);
  if (kept === undefined) await writeTokenFile(tokenFile, given);
  else if (kept !== given)
    components.logger.warn(
      { tokenFile },
      "SHOAL_TOKEN is of another site than the token's file, which counts; shoal join changes sites",
    );
  return kept ?? given;
}
