import type { ApiEvent } from "@shoal/api";
import type { Network } from "@shoal/network";
import type { Logger } from "@shoal/runtime";
import type { FileStore } from "@shoal/store";
import { type Audit, recordLimits, refusedHost } from "../audit/audit.ts";
import type { Environment } from "../configuration.ts";
import { listImages } from "../images.ts";
import { createKeptImages } from "../kept-images.ts";
import { changeLimits, limitsOf } from "../limits.ts";
import type { Pulls } from "../pulls.ts";
import type { SiteMembership } from "../site-membership.ts";
import type { SiteOffice } from "../site/site-office.ts";
import { peersOf, type StatusSources, statusOf } from "../status.ts";
import { createRoutes } from "./routes.ts";
import { startApiServer } from "./server.ts";
import { createSiteRoutes } from "./site-routes.ts";
import { groupIdOf, SOCKET_GROUP } from "./socket-group.ts";
import { createStoreRoutes } from "./store-routes.ts";

/** What the API shows and changes. */
export interface ApiParts extends StatusSources {
  readonly store: FileStore;
  readonly site: SiteMembership;
  readonly office: SiteOffice;
  readonly pulls: Pulls;
  readonly audit: Audit;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** Serves the whole API on the configured socket. @throws ERR_SOCKET_IN_USE, ERR_SOCKET */
export async function openApi(parts: ApiParts): Promise<AsyncDisposable> {
  const { configuration, store, network, swarm, site, office, pulls, audit, logger } = parts;
  return await startApiServer({
    socketPath: configuration.socket,
    groupId: await socketGroupId(parts.environment, logger),
    logger,
    onRefused: refusedHost(audit, "api"),
    events: {
      on: (listener) => subscribe({ pulls, network }, listener),
      pull: (id) => pulls.get(id),
    },
    routes: [
      ...createRoutes({
        pulls,
        status: async () => await statusOf(parts),
        peers: () => peersOf(parts),
        limits: () => limitsOf(swarm),
        setLimits(change) {
          changeLimits(swarm, change);
          recordLimits(audit, change);
        },
        images: async () => await listImages(store),
        token: async () => await site.token(),
        join: async (request) => await site.join(request),
      }),
      ...createSiteRoutes(office),
      ...createStoreRoutes({ store, kept: createKeptImages(store), logger }),
    ],
  });
}

/** Root's daemon is for the members of a group; anybody's own is their own. */
async function socketGroupId({ uid }: Environment, logger: Logger): Promise<number | undefined> {
  if (uid !== 0) return undefined;
  const groupId = await groupIdOf(SOCKET_GROUP);
  if (groupId === undefined)
    logger.info({ group: SOCKET_GROUP }, "there is no such group; the API is for root alone");
  return groupId;
}

function subscribe(
  { pulls, network }: { readonly pulls: Pulls; readonly network: Network },
  listener: (event: ApiEvent) => void,
): Disposable {
  const stack = new DisposableStack();
  stack.use(pulls.onChange((pull) => listener({ type: "pull", pull })));
  stack.use(network.on("memberUp", (peer) => listener({ type: "peer-up", peer })));
  stack.use(network.on("memberDown", (peer) => listener({ type: "peer-down", peer })));
  return stack;
}
