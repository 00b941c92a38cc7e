import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { usageOf } from "../../bench/usage.ts";
import { createSite, MIB, MIRROR, type Site, wrongBlobs } from "../interop/site.ts";
import type { LabDaemon } from "../lab/daemon.ts";
import { createImage, type TestImage } from "../lab/images.ts";
import type { Place } from "../lab/lan.ts";
import { run } from "../lab/run.ts";
import { type ChaosPart, createChecks, createDice, type Dice } from "./part.ts";
import { growth } from "./growth.ts";
import { ended } from "./waiting.ts";

const LONG = { machines: 10, minutes: 120 };
const SHORT = { machines: 2, minutes: 0.4 };
const POOL = 10;
/** Less than the pool, so that room is made all the time. */
const STORE_BYTES = 200 * MIB;
const SAMPLES = 40;
/** In a minute a process is still warming up; only what is grossly wrong shows. */
const MAX_RSS_BYTES = 500 * MIB;
/** From when on growth over the rest of the time says something. */
const WARM_MINUTES = 4;
const MAX_GROWTH = { rssBytes: 0.15, descriptors: 20, ingestFiles: 20 };

interface Sample {
  readonly seconds: number;
  readonly rssBytes: number;
  readonly descriptors: number;
  readonly ingestFiles: number;
}

interface Tally {
  pulls: number;
  copies: number;
  cut: number;
  /** No room could be made: docs/store.md, "Room". */
  full: number;
}

/** Members pull all kinds of things for a long time; what they hold of the machine stays the same. */
export const soakPart: ChaosPart = async ({ seed, long, minutes, machines, tell }) => {
  const dice = createDice(seed);
  const checks = createChecks(tell);
  const form = long ? LONG : SHORT;
  const durationMs = (minutes ?? form.minutes) * 60_000;
  await using site = await createSite({ machines: machines ?? form.machines, uplinkMbit: 400 });
  const images: TestImage[] = [];
  for (let index = 0; index < POOL; index++) {
    const image = createImage([2048, 500_000, 3 * MIB, (6 + 4 * index) * MIB]);
    await site.push(`app${index}`, "v1", image);
    images.push(image);
  }
  const extra = `store: { maxBytes: ${STORE_BYTES}, minFreeBytes: 268435456 }`;
  const daemons = await Promise.all(
    site.lan.machines.map(async (place) => await site.daemon(place, { extra })),
  );
  const tally: Tally = { pulls: 0, copies: 0, cut: 0, full: 0 };
  const samples: Sample[][] = daemons.map(() => []);
  const startMs = performance.now();
  const elapsedMs = (): number => performance.now() - startMs;

  const workers = daemons.map(async (daemon, index) => {
    const own = createDice(dice.below(2 ** 31));
    while (elapsedMs() < durationMs) {
      const failure = await oneAct(site, daemon, site.lan.machines[index]!, images, own, tally);
      checks.expect(failure === undefined, failure ?? "");
      await delay(own.float() * 300);
    }
  });
  const watching = (async () => {
    while (elapsedMs() < durationMs) {
      await delay(durationMs / SAMPLES);
      for (const [index, daemon] of daemons.entries())
        samples[index]!.push(await sampled(daemon, elapsedMs() / 1000));
      if (samples[0]!.length % 4 === 0) tell(view(samples, tally));
    }
  })();
  await Promise.all([...workers, watching]);

  const isWarm = durationMs > 2 * WARM_MINUTES * 60_000;
  const worst = { rss: 0, descriptors: 0, ingestFiles: 0 };
  for (const own of samples) {
    const settled = own.filter(({ seconds }) => !isWarm || seconds > WARM_MINUTES * 60);
    const of = (what: keyof Sample): number =>
      growth(settled.map((sample) => [sample.seconds, sample[what]]));
    const mean = settled.reduce((sum, { rssBytes }) => sum + rssBytes, 0) / settled.length;
    worst.rss = Math.max(worst.rss, of("rssBytes") / mean);
    worst.descriptors = Math.max(worst.descriptors, of("descriptors"));
    worst.ingestFiles = Math.max(worst.ingestFiles, of("ingestFiles"));
  }
  const most = (what: keyof Sample): number =>
    Math.max(...samples.flat().map((sample) => sample[what]));
  checks.expect(
    most("rssBytes") < MAX_RSS_BYTES,
    `a daemon had ${Math.round(most("rssBytes") / MIB)} MiB resident`,
  );
  if (isWarm) {
    checks.expect(worst.rss <= MAX_GROWTH.rssBytes, `RSS grew by ${Math.round(worst.rss * 100)} %`);
    checks.expect(
      worst.descriptors <= MAX_GROWTH.descriptors,
      `descriptors grew by ${Math.round(worst.descriptors)}`,
    );
    checks.expect(
      worst.ingestFiles <= MAX_GROWTH.ingestFiles,
      `the ingest folder grew by ${Math.round(worst.ingestFiles)} files`,
    );
  }
  for (const daemon of daemons) {
    const wrong = await wrongBlobs(daemon);
    checks.expect(wrong.length === 0, `wrong blobs ${wrong.join(", ")}`);
  }
  return {
    figures: {
      machines: daemons.length,
      minutes: Number((durationMs / 60_000).toFixed(1)),
      "pulls by the API": tally.pulls,
      "pulls by skopeo": tally.copies,
      "bodies left in the middle": tally.cut,
      "pulls refused for want of room": tally.full,
      "most resident, MiB": Math.round(most("rssBytes") / MIB),
      "most descriptors": most("descriptors"),
      "most files in an ingest folder": most("ingestFiles"),
      "RSS grew, % (worst)": Number((worst.rss * 100).toFixed(1)),
      "descriptors grew by (worst)": Number(worst.descriptors.toFixed(1)),
      "ingest files grew by (worst)": Number(worst.ingestFiles.toFixed(1)),
    },
    failures: checks.failures,
  };
};

/** @returns what failed */
async function oneAct(
  site: Site,
  daemon: LabDaemon,
  place: Place,
  images: readonly TestImage[],
  dice: Dice,
  tally: Tally,
): Promise<string | undefined> {
  const index = dice.below(images.length);
  const act = dice.float();
  try {
    if (act < 0.6) {
      tally.pulls += 1;
      const reference = `${site.registry.host}/app${index}:v1`;
      const { id } = await daemon.api.startPull({ reference });
      const { state, error } = await ended(daemon, id, reference);
      if (error?.code === "ERR_STORE_FULL") tally.full += 1;
      return state === "done" || error?.code === "ERR_STORE_FULL"
        ? undefined
        : `a pull of ${reference} ${state}: ${error?.code}`;
    }
    if (act < 0.8) {
      tally.copies += 1;
      const folder = await site.copy(place, `app${index}:v1`, "mirror");
      await run(["rm", "-rf", folder]);
      return undefined;
    }
    tally.cut += 1;
    const { descriptor } = images[index]!.blobs.at(-1)!;
    const url = `http://${MIRROR}/v2/app${index}/blobs/${descriptor.digest}?ns=${site.registry.host}`;
    const argv = ["curl", "-sS", "--max-time", (0.02 + dice.float() / 4).toFixed(3)];
    await run(place.within([...argv, "-o", "/dev/null", url])).catch(() => undefined);
    return undefined;
  } catch (error) {
    return String(error).slice(0, 300);
  }
}

async function sampled(daemon: LabDaemon, seconds: number): Promise<Sample> {
  const usage = await usageOf(daemon.pid);
  return {
    seconds,
    rssBytes: usage?.rssBytes ?? 0,
    descriptors: (await readdir(`/proc/${daemon.pid}/fd`)).length,
    ingestFiles: (await readdir(join(daemon.state, "store/ingests"))).length,
  };
}

function view(samples: readonly Sample[][], tally: Tally): string {
  const last = samples.map((own) => own.at(-1)!);
  const rss = Math.max(...last.map(({ rssBytes }) => rssBytes)) / MIB;
  const descriptors = Math.max(...last.map((sample) => sample.descriptors));
  return `${last[0]!.seconds.toFixed(0)} s: ${tally.pulls + tally.copies} pulls, at most ${rss.toFixed(0)} MiB and ${descriptors} descriptors`;
}
