import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createSite, MIB, MIRROR, type Site } from "../test/interop/site.ts";
import type { LabDaemon } from "../test/lab/daemon.ts";
import { startContainerd } from "../test/lab/containerd.ts";
import { createImage, type TestImage } from "../test/lab/images.ts";
import type { Place } from "../test/lab/lan.ts";
import { type LabRegistry, startRegistry } from "../test/lab/registry.ts";
import { run } from "../test/lab/run.ts";
import { against, type BenchOptions, type BenchResult, GIB, median } from "./result.ts";
import { pullByApi } from "./swarm-run.ts";
import { meterUsage } from "./usage.ts";

const LOCAL_PORT = 5001;
const LOCAL = `127.0.0.1:${LOCAL_PORT}`;

/** One machine with images in its daemon's store, and in a docker-registry beside it. */
export interface ServingSite extends AsyncDisposable {
  readonly site: Site;
  readonly place: Place;
  readonly daemon: LabDaemon;
  readonly local: LabRegistry;
  /** What the upstream is called. */
  readonly registry: string;
  /** What a direct pull of the first image brings over the uplink. */
  readonly directBytes: number;
}

/** The images are `app:v0`, `app:v1`, …. The registry serves the files that the one behind the uplink took them into. */
export async function createServingSite(images: readonly TestImage[]): Promise<ServingSite> {
  await using stack = new AsyncDisposableStack();
  const site = stack.use(await createSite({ machines: 1 }));
  const place = site.lan.machines[0]!;
  // Nobody is to ask the registry behind the uplink again.
  const extra = "resolve: { freshSeconds: 86400 }";
  const daemon = await site.daemon(place, { token: undefined, extra });
  for (const [index, image] of images.entries()) {
    await site.push("app", `v${index}`, image);
    await pullByApi(daemon, `${site.registry.host}/app:v${index}`);
  }
  const directBytes = await site.uplink(
    async () => await site.copy(site.lan.router, "app:v0", "registry"),
  );
  const folder = join(site.folder, "registry");
  const local = stack.use(
    await startRegistry(place, folder, { port: LOCAL_PORT, accessLog: false }),
  );
  const later = stack.move();
  return {
    site,
    place,
    daemon,
    local,
    registry: site.registry.host,
    directBytes,
    [Symbol.asyncDispose]: async () => await later.disposeAsync(),
  };
}

type Server = "mirror" | "registry";

/** A client that takes the image from a server, into a folder that is new. @returns seconds */
type Pull = (from: Server, folder: string) => Promise<number>;

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return (performance.now() - startMs) / 1000;
}

/** skopeo and containerd take an image from the mirror and from a docker-registry, in turns. */
export async function serve(options: BenchOptions): Promise<BenchResult> {
  const image = createImage([options.sizeMib * MIB]);
  await using serving = await createServingSite([image]);
  const { site, place, daemon, local, registry } = serving;
  const clients: Readonly<Record<string, Pull>> = {
    async skopeo(from, folder) {
      const host = from === "mirror" ? `${MIRROR}/${registry.replace(":", "_")}` : LOCAL;
      const copy = ["skopeo", "copy", "--src-tls-verify=false", `docker://${host}/app:v0`];
      return await seconds(async () => await run(place.within([...copy, `dir:${folder}`])));
    },
    async ctr(from, folder) {
      const mirror = from === "mirror" ? MIRROR : LOCAL;
      await using engine = await startContainerd({ place, folder, registry, mirror });
      return await seconds(async () => await engine.fetch("app:v0"));
    },
  };
  const pids = { mirror: daemon.pid, registry: local.pid };
  const measured = Object.keys(clients).map((client) => ({
    client,
    times: { mirror: [] as number[], registry: [] as number[] },
    cpuSeconds: { mirror: 0, registry: 0 },
  }));
  let maxRssBytes = 0;
  const uplinkBytes = await site.uplink(async () => {
    // The round before the first is for what is slow once: the caches of files, code that is not yet compiled.
    for (let round = -1; round < options.rounds; round++)
      for (const { client, times, cpuSeconds } of measured)
        for (const from of inTurns(round)) {
          const folder = join(site.folder, `${client}-${from}`);
          const meter = await meterUsage([pids[from]]);
          const took = await clients[client]!(from, folder);
          const [usage] = await meter.end();
          await rm(folder, { recursive: true, force: true });
          if (from === "mirror") maxRssBytes = usage!.maxRssBytes;
          if (round < 0) continue;
          times[from].push(took);
          cpuSeconds[from] += usage!.cpuSeconds;
        }
  });
  const movedGib = (options.sizeMib * MIB * options.rounds) / GIB;
  const results = measured.map(({ client, times, cpuSeconds }) => ({
    client,
    ratio: median(times.mirror) / median(times.registry),
    /** Of the two pulls of each round, which the rest of the machine's work is the likeliest to treat alike. */
    ratios: times.mirror.map((time, round) => time / times.registry[round]!),
    seconds: times.mirror,
    registrySeconds: times.registry,
    cpuSecondsPerGiB: cpuSeconds.mirror / movedGib,
    registryCpuSecondsPerGiB: cpuSeconds.registry / movedGib,
  }));
  const worst = results.toSorted((a, b) => b.ratio - a.ratio)[0]!;
  return {
    scenario: "serve",
    nodes: 1,
    sizeBytes: options.sizeMib * MIB,
    uplinkBytes,
    directBytes: serving.directBytes,
    egressRatio: uplinkBytes / serving.directBytes,
    ...against(
      {
        bound: `the same client takes it from docker-registry on the same machine, median of the same run; of the clients, ${worst.client} has the worst ratio`,
        boundSeconds: median(worst.registrySeconds),
      },
      { makespanSeconds: median(worst.seconds) },
    ),
    cpuSecondsPerGiB: Math.max(...results.map(({ cpuSecondsPerGiB }) => cpuSecondsPerGiB)),
    maxRssBytes,
    details: Object.fromEntries(results.map(({ client, ...result }) => [client, result])),
  };
}

/** Each first every other time: what one leaves in caches is the other's gain. */
function inTurns(round: number): readonly Server[] {
  return round % 2 === 0 ? ["registry", "mirror"] : ["mirror", "registry"];
}
