import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createNetwork, loadIdentity, siteOf } from "@shoal/network";
import { CodedError, type Logger, systemClock } from "@shoal/runtime";
import { openFileStore } from "@shoal/store";
import { createSwarm, type Swarm } from "@shoal/swarm";
import { createUpstream, isReadOverTls } from "@shoal/upstream";
import { passedSockets } from "./activation.ts";
import { createAccess } from "./access/access.ts";
import { refusedHost, startAudit } from "./audit/audit.ts";
import { recordStore } from "./audit/store-events.ts";
import { auditedUpstream } from "./audit/guarded-upstream.ts";
import { openApi } from "./api/open-api.ts";
import type { Configuration, Environment } from "./configuration.ts";
import { listenHttp } from "./listening.ts";
import { configuredLimits } from "./limits.ts";
import { localOnly } from "./local-only.ts";
import { createClientSightings } from "./mirror/clients.ts";
import { createDocuments } from "./mirror/documents.ts";
import { createImageNames } from "./mirror/image-names.ts";
import { answerMetrics } from "./metrics-page.ts";
import { createMirrorMetrics } from "./mirror/metrics.ts";
import { createMirror } from "./mirror/mirror.ts";
import { createPrometheusRegister } from "./prometheus.ts";
import { createPulls } from "./pulls.ts";
import { createRefetching } from "./refetching.ts";
import { createShareRules } from "./share-rules.ts";
import { openSiteParts } from "./site/site-parts.ts";
import { initialToken } from "./site-membership.ts";
import { storeRoom } from "./store-room.ts";
import { createTraffic } from "./traffic.ts";
import { createUnfinishedPulls } from "./unfinished-pulls.ts";
import { upstreamSettings } from "./upstream-settings.ts";
import { VERSION } from "./version.ts";
import type { Places } from "./welcome.ts";

export interface DaemonComponents {
  readonly logger: Logger;
  readonly environment: Environment;
  /** Where people change the configuration, for messages. */
  readonly configurationFile?: string | undefined;
}

/** A running daemon. Disposing lets running answers end, for at most 10 s, and closes everything. */
export interface Daemon extends AsyncDisposable {
  readonly places: Places;
}

/**
 * Makes and starts all parts: the only place that knows them all.
 * @throws ERR_PORT_IN_USE, ERR_STORE_LOCKED, ERR_STORE_PERMISSION, ERR_SOCKET_IN_USE, ERR_TOKEN_INVALID and
 * others, each with the setting to change
 */
export async function startDaemon(
  components: DaemonComponents,
  configuration: Configuration,
): Promise<Daemon> {
  const { logger, environment } = components;
  const clock = systemClock;
  const random = Math.random;
  await using stack = new AsyncDisposableStack();
  const prometheus = createPrometheusRegister(VERSION);
  const traffic = createTraffic(prometheus);
  const metrics = traffic.register;

  // The store is made before the swarm that can tell.
  let lastCopies: Swarm["lastCopies"] = async () => new Set();

  await makeStateFolder(configuration.state);
  const room = await storeRoom(configuration);
  const store = stack.use(
    await openFileStore(
      { clock, logger, metrics, lastCopies: async (digests) => await lastCopies(digests) },
      { directory: join(configuration.state, "store"), ...room },
    ),
  );
  const audit = stack.use(await startAudit({ clock, logger, metrics }, configuration));
  stack.use(recordStore(audit, store));
  const identity = await loadIdentity({ logger }, { directory: configuration.state });
  const siteParts = await openSiteParts({ store, clock, logger, audit }, configuration);
  const { tokenFile, record } = siteParts;
  const token = await initialToken({ logger }, tokenFile, environment.env, record);
  const { init: upstreamInit, logins } = upstreamSettings(
    { clock, logger, environment, configurationFile: components.configurationFile },
    configuration,
  );
  const plainUpstream = stack.use(createUpstream({ clock, logger, metrics, random }, upstreamInit));
  const upstream = auditedUpstream(plainUpstream, audit);
  const shareOf = createShareRules(configuration.share);
  const access = stack.use(
    await createAccess(
      { store, upstream, audit, clock, logger },
      {
        proofs: {
          provenMs: configuration.access.provenSeconds * 1000,
          graceMs: configuration.access.graceSeconds * 1000,
          provesAccess: (repository) => shareOf(repository) === "private",
        },
        upstream: upstreamInit,
        uid: environment.uid,
        secretFile: configuration.mirror.secretFile,
      },
    ),
  );
  const network = stack.use(
    createNetwork(
      {
        audit,
        identity,
        clock,
        random,
        logger,
        metrics,
        roster: store.table("roster"),
        ...siteParts.forNetwork,
      },
      {
        token,
        record,
        port: configuration.swarm.port,
        bulkPort: configuration.swarm.bulkPort,
        mdns: configuration.swarm.mdns,
        zone: configuration.zone === "" ? undefined : configuration.zone,
        peers: configuration.swarm.peers,
        interfaces: {
          only: configuration.swarm.interfaces ?? [],
          except: configuration.swarm.exceptInterfaces ?? [],
        },
        ...(configuration.swarm.listen.length === 0 ? {} : { listen: configuration.swarm.listen }),
      },
    ),
  );
  const resolve = {
    freshMs: configuration.resolve.freshSeconds * 1000,
    staleMaxMs: configuration.resolve.staleMaxSeconds * 1000,
  };
  const swarm = stack.use(
    await createSwarm(
      { transport: network, store, upstream, clock, random, logger, metrics, auditLog: audit },
      {
        ...configuredLimits(configuration),
        mayShare: (repository) => shareOf(repository) !== "never",
        privacy: access.privacy,
        overTls: (registry) => isReadOverTls(registry, configuration.registries),
        resolve,
      },
    ),
  );
  audit.started(network, record?.certificate ? record.site.id : token && siteOf(token).id);
  lastCopies = swarm.lastCopies;
  await network.start();
  const guardedSwarm = access.guard(swarm);
  const { site, office } = siteParts.over(network);
  const pulls = stack.use(
    createPulls({
      swarm: guardedSwarm,
      store,
      unfinished: createUnfinishedPulls(store, clock, logger),
      clock,
      logger,
      audit,
    }),
  );

  stack.use(createRefetching({ store, swarm: guardedSwarm, clock, logger }));
  const clients = createClientSightings(clock);
  const mirror = createMirror({
    swarm: guardedSwarm,
    gate: access.gate(swarm),
    names: stack.use(createImageNames({ store, logger })),
    documents: createDocuments({ upstream, clock }, resolve),
    clock,
    logger,
    metrics: createMirrorMetrics(metrics),
    clients,
    audit,
  });
  const mirrorListening = stack.use(
    await listenHttp(
      localOnly(
        {
          hosts: configuration.mirror.hosts,
          setting: "mirror.hosts",
          onRefused: refusedHost(audit, "mirror"),
        },
        (request, response) => void mirror(request, response),
      ),
      {
        addresses: configuration.mirror.listen,
        setting: "mirror.listen",
        descriptors: passedSockets(environment.env, process.pid).get("mirror"),
      },
    ),
  );
  const metricsListening = stack.use(
    await listenHttp(
      localOnly(
        {
          hosts: configuration.metrics.hosts,
          setting: "metrics.hosts",
          byAddress: true,
          onRefused: refusedHost(audit, "metrics"),
        },
        (request, response) => void answerMetrics(prometheus, request.url ?? "/", response),
      ),
      { addresses: configuration.metrics.listen, setting: "metrics.listen", graceMs: 0 },
    ),
  );
  stack.use(
    await openApi({
      configuration,
      store,
      upstream,
      network,
      swarm,
      site,
      office,
      pulls,
      traffic,
      clients,
      audit,
      minFreeBytes: room.minFreeBytes,
      logins,
      startedAt: new Date(clock.wallNow()).toISOString(),
      mirrorAddresses: () => mirrorListening.addresses,
      environment,
      logger,
    }),
  );

  pulls.resume().catch((error: unknown) => {
    logger.warn({ error }, "the pulls of the last run could not be read");
  });

  const running = stack.move();
  return {
    places: {
      mirror: mirrorListening.addresses,
      socket: configuration.socket,
      swarm: network.listenAddresses(),
      metrics: metricsListening.addresses,
      state: configuration.state,
      inSite: network.listenAddresses().length > 0,
    },
    async [Symbol.asyncDispose]() {
      await running.disposeAsync();
    },
  };
}

async function makeStateFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new CodedError(
      "ERR_STATE_FOLDER",
      `the state folder ${path} can't be made (${code}); make it for the daemon's user, or set state to a folder of its own`,
      { cause, details: { path } },
    );
  }
}
