import { setTimeout as delay } from "node:timers/promises";
import { createSite, type Site, wrongBlobs } from "../test/interop/site.ts";
import type { LabDaemon } from "../test/lab/daemon.ts";
import { createImage, imageBytes, type TestImage } from "../test/lab/images.ts";
import type { LanInit, Place } from "../test/lab/lan.ts";
import { type BenchOptions, type BenchResult, type Bound, GIB } from "./result.ts";
import { goodputMbit } from "./transfer.ts";
import { meterUsage } from "./usage.ts";

const REFERENCE = "app:v1";
const POLL_MS = 100;
const DIRECT_MBIT = 200;

export interface SwarmRunInit {
  readonly options: BenchOptions;
  /** Sizes of the image's layers. */
  readonly layers: readonly number[];
  readonly lan?: Partial<LanInit>;
  /** @default false: plain HTTP */
  readonly registryTls?: boolean;
  /** Machines that run a daemon. @default all */
  readonly daemons?: number;
  /** More of a daemon's configuration. */
  readonly extra?: (index: number) => string;
}

/** A site that is about to pull an image that none of it has, and what bounds it. */
export interface SwarmRun extends AsyncDisposable {
  readonly site: Site;
  readonly places: readonly Place[];
  readonly daemons: readonly LabDaemon[];
  readonly image: TestImage;
  readonly sizeBytes: number;
  /** Into the site, by one pull that goes straight to the registry. */
  readonly directBytes: number;
  /** Seconds that one copy takes over the uplink, and over a machine's link; 0 for a link that is not shaped. */
  readonly uplinkSeconds: number;
  readonly lanSeconds: number;
  /** One machine's whole pull. */
  pull(index: number): Promise<void>;
  /** Waits until so much of a direct pull has crossed the uplink since the measured part began. */
  crossed(share: number): Promise<void>;
  /** Seconds since the measured part began. */
  elapsed(): number;
  /** Runs and measures. `work` says how long it took those that count. */
  measure(work: () => Promise<number>): Promise<Measured>;
  /** Whether every blob of these machines is what its name says, and the image is whole there. */
  right(indexes: readonly number[]): Promise<boolean>;
}

export type Measured = Pick<
  BenchResult,
  | "nodes"
  | "sizeBytes"
  | "uplinkBytes"
  | "directBytes"
  | "egressRatio"
  | "makespanSeconds"
  | "cpuSecondsPerGiB"
  | "maxRssBytes"
  | "uplinkGoodputMbit"
  | "lanGoodputMbit"
>;

export async function prepareRun(init: SwarmRunInit): Promise<SwarmRun> {
  const { options } = init;
  const { nodes, uplinkMbit, lanMbit } = options;
  await using stack = new AsyncDisposableStack();
  const rates = {
    ...(uplinkMbit === undefined ? {} : { uplinkMbit }),
    ...(lanMbit === undefined ? {} : { lanMbit }),
  };
  const site = stack.use(
    await createSite({
      machines: nodes,
      ...rates,
      ...init.lan,
      registryTls: init.registryTls ?? false,
    }),
  );
  const { lan, folder } = site;
  const places = lan.machines;
  const image = createImage(init.layers);
  const sizeBytes = imageBytes(image);
  await site.push("app", "v1", image);
  // Its bytes count, not its time, so that a slow uplink is left out; without any, segments are not always full.
  await lan.shapeUplink(Math.max(DIRECT_MBIT, uplinkMbit ?? 0));
  const directBytes = await site.uplink(
    async () => await site.copy(lan.router, REFERENCE, "registry"),
  );
  await lan.shapeUplink(uplinkMbit);
  const uplinkGoodputMbit =
    uplinkMbit && (await goodputMbit(lan.registry, lan.router, uplinkMbit, folder));
  const lanGoodputMbit =
    lanMbit && nodes > 1 ? await goodputMbit(places[0]!, places[1]!, lanMbit, folder) : undefined;
  const secondsAt = (mbit: number | undefined): number =>
    mbit === undefined ? 0 : (sizeBytes * 8) / 1_000_000 / mbit;
  const count = init.daemons ?? nodes;
  const daemons = await Promise.all(
    places
      .slice(0, count)
      .map(async (place, index) => await site.daemon(place, { extra: init.extra?.(index) ?? "" })),
  );
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(count - 1)));
  const crossedBytes = async (): Promise<number> => (await lan.uplinkBytes()).in;
  let startMs = 0;
  let startBytes = 0;
  const kept = stack.move();

  return {
    site,
    places,
    daemons,
    image,
    sizeBytes,
    directBytes,
    uplinkSeconds: secondsAt(uplinkGoodputMbit),
    lanSeconds: secondsAt(lanGoodputMbit),
    async pull(index) {
      if (options.client === "skopeo") await site.copy(places[index]!, REFERENCE, "mirror");
      else await pullByApi(daemons[index]!, `${site.registry.host}/${REFERENCE}`);
    },
    async crossed(share) {
      while ((await crossedBytes()) - startBytes < share * directBytes) await delay(POLL_MS);
    },
    elapsed: () => (performance.now() - startMs) / 1000,
    async measure(work) {
      const meter = await meterUsage(daemons.map(({ pid }) => pid));
      startBytes = await crossedBytes();
      startMs = performance.now();
      const makespanSeconds = await work();
      const uplinkBytes = (await crossedBytes()) - startBytes;
      const usage = await meter.end();
      const cpuSeconds = usage.reduce((sum, one) => sum + one.cpuSeconds, 0);
      return {
        nodes,
        sizeBytes,
        uplinkBytes,
        directBytes,
        egressRatio: uplinkBytes / directBytes,
        makespanSeconds,
        cpuSecondsPerGiB: cpuSeconds / ((sizeBytes * count) / GIB),
        maxRssBytes: Math.max(...usage.map((one) => one.maxRssBytes)),
        ...(uplinkGoodputMbit === undefined ? {} : { uplinkGoodputMbit }),
        ...(lanGoodputMbit === undefined ? {} : { lanGoodputMbit }),
      };
    },
    async right(indexes) {
      for (const index of indexes) {
        const daemon = daemons[index]!;
        if ((await wrongBlobs(daemon)).length > 0) return false;
        if ((await daemon.status()).store.blobBytes < sizeBytes) return false;
      }
      return true;
    },
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
}

/** Has a daemon pull an image into its store. Throws when that fails. */
export async function pullByApi(daemon: LabDaemon, reference: string): Promise<void> {
  const { id } = await daemon.api.startPull({ reference });
  for await (const event of daemon.api.events({ pull: id })) {
    if (event.type !== "pull" || event.pull.finishedAt === undefined) continue;
    if (event.pull.state === "done") return;
    throw new Error(`the pull ${event.pull.state}: ${event.pull.error?.message ?? "no reason"}`);
  }
  throw new Error("the daemon went away");
}

/** What one copy for everybody at once is bounded by. */
export function linkBound(run: SwarmRun): Bound {
  const { uplinkSeconds, lanSeconds } = run;
  return {
    bound:
      uplinkSeconds >= lanSeconds
        ? "one copy over the uplink, at its goodput"
        : "one copy over a machine's link, at its goodput",
    boundSeconds: Math.max(uplinkSeconds, lanSeconds),
  };
}

/** Everybody's numbers. */
export function upTo(count: number, from = 0): number[] {
  return Array.from({ length: count - from }, (_, index) => from + index);
}
