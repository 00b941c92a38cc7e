import { NODE } from "../test/lab/daemon.ts";
import { createImage, createLayer, imageBytes } from "../test/lab/images.ts";
import { MIB, MIRROR } from "../test/interop/site.ts";
import { run } from "../test/lab/run.ts";
import { against, type BenchOptions, type BenchResult, median } from "./result.ts";
import { createServingSite } from "./serve.ts";
import { meterUsage } from "./usage.ts";

const LOAD = new URL("../test/lab/head-load.ts", import.meta.url).pathname;
const LAYERS = 10;
/** So many that no two requests that are under way at once are for the same. */
const IMAGES = 48;
const CONNECTIONS = 16;
const SECONDS = 4;
/** What a core is to answer at least. */
const WANTED_PER_SECOND = 2000;
/** Servers have one core, who asks them the other. */
const [SERVER_CORE, LOAD_CORE] = ["0", "1"];

/** HEADs of a manifest by tag and by digest, answered from what the machine has, by one core. */
export async function heads(options: BenchOptions): Promise<BenchResult> {
  const layers = Array.from({ length: LAYERS }, () =>
    createLayer(Math.floor((options.sizeMib * MIB) / LAYERS)),
  );
  const [first, ...others] = Array.from({ length: IMAGES }, () => createImage(layers));
  // The layers are pushed with the first.
  const images = [first!, ...others.map((image) => ({ ...image, blobs: image.blobs.slice(0, 1) }))];
  await using serving = await createServingSite(images);
  const { site, place, daemon, local, registry } = serving;
  for (const pid of [daemon.pid, local.pid])
    await run(["taskset", "--all-tasks", "--cpu-list", "--pid", SERVER_CORE, `${pid}`]);
  const names = {
    tag: images.map((_, index) => `v${index}`),
    digest: images.map(({ manifest }) => manifest.descriptor.digest),
  };
  const servers = {
    mirror: { host: MIRROR, pid: daemon.pid, query: `?ns=${registry}` },
    registry: { host: local.host.replace(place.address, "127.0.0.1"), pid: local.pid, query: "" },
  };
  const measured = Object.entries(names).flatMap(([kind, list]) =>
    Object.entries(servers).map(([server, { host, pid, query }]) => ({
      kind,
      server,
      host,
      pid,
      paths: list.map((name) => `/v2/app/manifests/${name}${query}`),
      perSecond: [] as number[],
      p99Ms: [] as number[],
      answered: 0,
      cpuSeconds: 0,
      maxRssBytes: 0,
    })),
  );
  const uplinkBytes = await site.uplink(async () => {
    for (let round = 0; round < options.rounds; round++)
      for (const one of round % 2 === 0 ? measured : measured.toReversed()) {
        const meter = await meterUsage([one.pid]);
        const ask = [NODE, LOAD, `${CONNECTIONS}`, `${SECONDS}`, one.host, ...one.paths];
        const text = await run(place.within(["taskset", "--cpu-list", LOAD_CORE, ...ask]));
        const [usage] = await meter.end();
        const load = JSON.parse(text) as Load;
        one.perSecond.push(load.heads / load.seconds);
        one.p99Ms.push(load.p99Ms);
        one.answered += load.answered;
        one.cpuSeconds += usage!.cpuSeconds;
        one.maxRssBytes = usage!.maxRssBytes;
      }
  });
  const of = (server: string) => measured.filter((one) => one.server === server);
  const own = of("mirror");
  const slowest = own.toSorted((a, b) => median(a.perSecond) - median(b.perSecond))[0]!;
  const results = own.map((one) => {
    const other = of("registry").find(({ kind }) => kind === one.kind)!;
    return {
      kind: one.kind,
      perSecond: one.perSecond,
      registryPerSecond: other.perSecond,
      timesRegistry: median(one.perSecond) / median(other.perSecond),
      cpuMicroseconds: (one.cpuSeconds / one.answered) * 1_000_000,
      registryCpuMicroseconds: (other.cpuSeconds / other.answered) * 1_000_000,
      p99Ms: one.p99Ms,
      registryP99Ms: other.p99Ms,
    };
  });
  return {
    scenario: "heads",
    nodes: 1,
    sizeBytes: imageBytes(first!),
    uplinkBytes,
    directBytes: serving.directBytes,
    egressRatio: uplinkBytes / serving.directBytes,
    ...against(
      {
        bound: `a HEAD at ${WANTED_PER_SECOND} a second; by ${slowest.kind} they are slower`,
        boundSeconds: 1 / WANTED_PER_SECOND,
      },
      { makespanSeconds: 1 / median(slowest.perSecond) },
    ),
    cpuSecondsPerGiB: 0,
    maxRssBytes: Math.max(...own.map(({ maxRssBytes }) => maxRssBytes)),
    details: Object.fromEntries(results.map(({ kind, ...result }) => [kind, result])),
  };
}

/** What `test/lab/head-load.ts` prints. */
interface Load {
  /** Within `seconds`; and with those while it warmed up. */
  readonly heads: number;
  readonly answered: number;
  readonly seconds: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}
