import { join } from "node:path";
import type { Network, NetworkComponents, SiteRecord } from "@shoal/network";
import { type AuditLog, type Clock, createTurns, type Logger } from "@shoal/runtime";
import type { FileStore } from "@shoal/store";
import type { Configuration } from "../configuration.ts";
import { createSiteMembership, type SiteMembership } from "../site-membership.ts";
import { createIssuing } from "./issuing.ts";
import { openJoinTokens } from "./join-tokens.ts";
import { loadKnownMembers } from "./known-members.ts";
import { createMembershipFile } from "./membership-file.ts";
import { createSiteKeyFile } from "./site-key-file.ts";
import { createSiteOffice, type SiteOffice } from "./site-office.ts";

const DAY_MS = 24 * 3600 * 1000;

export interface SitePartsComponents {
  readonly store: Pick<FileStore, "table">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly audit: AuditLog;
}

/** What a daemon has of its site: files, who is known, and what follows when the network is made. */
export interface SiteParts {
  readonly tokenFile: string;
  /** What was kept of the site. */
  readonly record: SiteRecord | undefined;
  readonly forNetwork: Pick<NetworkComponents, "issuer" | "keepRecord" | "onCertificate">;
  /** To be called once, with the network that was made with these. */
  over(network: Network): { readonly site: SiteMembership; readonly office: SiteOffice };
}

/** @throws ERR_SITE_FILE */
export async function openSiteParts(
  { store, clock, logger, audit }: SitePartsComponents,
  {
    state,
    site: { tokenFile = join(state, "site-token"), keyFile, certificateDays = 90 },
  }: Configuration,
): Promise<SiteParts> {
  const membershipFile = createMembershipFile(join(state, "membership.json"));
  let entered = (): string => "";
  const site = (): string => entered();
  const known = await loadKnownMembers(store.table("certificates"), logger, site);
  /** A machine goes into one site at a time. */
  const inTurn = createTurns();
  const parts = {
    keyFile: createSiteKeyFile(keyFile ?? join(state, "site-key.json")),
    tokens: await openJoinTokens(join(state, "join-tokens.json"), () => clock.wallNow()),
    known,
    clock,
    logger,
    audit,
  };
  const issuing = createIssuing(parts, { lifetimeMs: certificateDays * DAY_MS, site });
  return {
    tokenFile,
    record: await membershipFile.read(),
    forNetwork: {
      issuer: issuing,
      keepRecord: membershipFile.write,
      onCertificate: known.saw,
    },
    over(network) {
      entered = () => network.site;
      return {
        site: createSiteMembership(
          { network, membershipFile, inTurn, logger, audit },
          { tokenFile },
        ),
        office: createSiteOffice({ ...parts, network, issuing, inTurn }),
      };
    },
  };
}
