import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isFinished, type Pull } from "@shoal/api";
import { createSite, MIB, type Site, wrongBlobs } from "../interop/site.ts";
import type { LabDaemon } from "../lab/daemon.ts";
import { createImage, imageBytes, type TestImage } from "../lab/images.ts";
import { until } from "../lab/processes.ts";
import { type Acknowledged, acknowledge, expectKnown } from "./acknowledged.ts";
import { type Failpoint, FAILPOINTS } from "./failpoints.ts";
import { arrivedBytes } from "./journaled.ts";
import { type ChaosPart, createChecks, createDice, type Dice } from "./part.ts";
import { ended, verified } from "./waiting.ts";

const LONG_ROUNDS = 500;
const SHORT_ROUNDS = 6;
/** An image in about 3 s. */
const UPLINK_MBIT = 100;
const POOL = 4;
/** Random moments are spread over a pull, and a little after it. */
const KILL_WITHIN_MS = 3500;
const RESTART_MS = 5000;
/** On a machine that is too busy for that, so many times what the first start took. */
const RESTART_RATIO = 3;
const MAX_REFETCHED = 0.05;
/** A share of less says nothing. */
const LEAST_ARRIVED_BYTES = 4 * MIB;

interface Named {
  readonly reference: string;
  readonly image: TestImage;
}

interface Tally {
  kills: number;
  readonly at: Map<string, number>;
  arrivedBytes: number;
  refetchedBytes: number;
  worstShare: number;
  readonly restartMs: number[];
}

/**
 * A daemon that pulls, pins, unpins, revokes and collects is killed, at a random moment and at a call of the file
 * system in turns, and started again.
 */
export const killPart: ChaosPart = async ({ seed, long, rounds, tell }) => {
  const dice = createDice(seed);
  const checks = createChecks(tell);
  const count = rounds ?? (long ? LONG_ROUNDS : SHORT_ROUNDS);
  const failpoints = dice.some(FAILPOINTS.length, FAILPOINTS);
  const tally: Tally = {
    kills: 0,
    at: new Map(),
    arrivedBytes: 0,
    refetchedBytes: 0,
    worstShare: 0,
    restartMs: [],
  };
  await using site = await createSite({ machines: 1, uplinkMbit: UPLINK_MBIT });
  const pool: Named[] = [];
  for (let index = 0; index < POOL; index++)
    pool.push(await pushed(site, `pool${index}`, createImage([2048, MIB, 8 * MIB, 23 * MIB])));
  const file = join(site.folder, "kill-at.json");
  const killAt = new URL(`kill-at.ts?${encodeURIComponent(file)}`, import.meta.url).href;
  const startMs = performance.now();
  const daemon = await site.daemon(site.lan.machines[0]!, { imports: [killAt] });
  const firstStartMs = performance.now() - startMs;
  await daemon.api.site.init({ name: "victim" });
  const known: Acknowledged = { pins: new Map(), unpinned: new Set(), revoked: new Set() };

  for (let round = 0; round < count; round++) {
    const failpoint =
      round % 2 === 0 ? undefined : aim(dice, failpoints[(round >> 1) % failpoints.length]!);
    const keep = await pushed(site, `keep${round}`, createImage([2048]));
    await daemon.api.store.collect({ targetBytes: 0 });
    const wanted = [...dice.some(1, pool), keep];
    if (failpoint !== undefined) {
      await writeFile(file, JSON.stringify(failpoint));
      process.kill(daemon.pid, "SIGUSR2");
    }
    const pulls = await began(daemon, wanted);
    const acknowledging = acknowledge(daemon, keep.reference, known, dice);
    const isReached = await killed(daemon, pulls, failpoint, dice);
    await acknowledging;
    tally.kills += 1;
    const at = failpoint && isReached ? `${failpoint.name}:${failpoint.when}` : "random";
    tally.at.set(at, (tally.at.get(at) ?? 0) + 1);
    await rm(file, { force: true });

    const what = `round ${round} (${at})`;
    const wrong = await wrongBlobs(daemon);
    checks.expect(wrong.length === 0, `${what}: wrong blobs ${wrong.join(", ")}`);
    const blobs = wanted.flatMap(({ image }) => [...image.blobs, image.manifest]);
    const arrived = await arrivedBytes(daemon.state, blobs);
    tally.restartMs.push(await restarted(daemon));
    const isTwice = round % 5 === 4;
    if (isTwice) {
      await delay(dice.float() * 1000);
      await daemon.kill9();
      tally.kills += 1;
      tally.restartMs.push(await restarted(daemon));
    }
    for (const [index, { reference }] of wanted.entries()) {
      const pull = await ended(daemon, pulls[index]?.id ?? "", reference);
      checks.expect(
        pull.state === "done",
        `${what}: ${reference} ${pull.state} ${pull.error?.code}`,
      );
    }
    if (!isTwice) {
      const { fromUpstreamBytes } = (await daemon.status()).traffic;
      const all = wanted.reduce((sum, { image }) => sum + imageBytes(image), 0);
      const refetched = Math.max(0, fromUpstreamBytes - Math.max(0, all - arrived));
      tally.arrivedBytes += arrived;
      tally.refetchedBytes += refetched;
      if (arrived >= LEAST_ARRIVED_BYTES)
        tally.worstShare = Math.max(tally.worstShare, refetched / arrived);
    }
    await expectKnown(daemon, known, checks, what);
    const { findings } = await verified(daemon);
    checks.expect(findings.length === 0, `${what}: store verify found ${JSON.stringify(findings)}`);
    tell(
      `${round + 1}/${count} ${at}: ${(arrived / MIB).toFixed(1)} MiB had arrived, ${((await daemon.status()).traffic.fromUpstreamBytes / MIB).toFixed(1)} came after, restart ${tally.restartMs.at(-1)!.toFixed(0)} ms`,
    );
  }

  const share = tally.refetchedBytes / Math.max(1, tally.arrivedBytes);
  checks.expect(share <= MAX_REFETCHED, `${(share * 100).toFixed(1)} % was fetched again`);
  const slowest = Math.max(...tally.restartMs);
  const limitMs = Math.max(RESTART_MS, RESTART_RATIO * firstStartMs);
  checks.expect(slowest < limitMs, `a restart took ${slowest.toFixed(0)} ms`);
  const random = tally.at.get("random") ?? 0;
  return {
    figures: {
      kills: tally.kills,
      "at random moments": tally.kills - (count - random),
      "at failpoints": count - random,
      "failpoints reached": `${[...tally.at.keys()].filter((name) => name !== "random").length} of ${FAILPOINTS.length}`,
      "pins acknowledged": known.pins.size + known.unpinned.size,
      "unpins acknowledged": known.unpinned.size,
      "revocations acknowledged": known.revoked.size,
      "arrived before kills, MiB": Math.round(tally.arrivedBytes / MIB),
      "fetched again, %": Number((share * 100).toFixed(2)),
      "worst round, %": Number((tally.worstShare * 100).toFixed(2)),
      "first start, ms": Math.round(firstStartMs),
      "slowest restart, ms": Math.round(slowest),
      "median restart, ms": Math.round(
        tally.restartMs.toSorted((a, b) => a - b)[tally.restartMs.length >> 1]!,
      ),
    },
    failures: checks.failures,
  };
};

async function pushed(site: Site, name: string, image: TestImage): Promise<Named> {
  await site.push(name, "v1", image);
  return { reference: `${site.registry.host}/${name}:v1`, image };
}

/** Calls that each piece makes can be any of the first ones; others are few. */
function aim(dice: Dice, point: Omit<Failpoint, "count">): Failpoint {
  const isOften = point.name === "piece-write" || point.name === "journal-append";
  return { ...point, count: 1 + dice.below(isOften ? 40 : 3) };
}

async function began(daemon: LabDaemon, wanted: readonly Named[]): Promise<Pull[]> {
  const pulls: Pull[] = [];
  for (const { reference } of wanted) {
    // It may be gone already, by its failpoint: then it is asked for after the restart.
    const pull = await daemon.api.startPull({ reference }).catch(() => undefined);
    if (pull === undefined) break;
    pulls.push(pull);
  }
  return pulls;
}

/** @returns whether it was the failpoint's doing */
async function killed(
  daemon: LabDaemon,
  pulls: readonly Pull[],
  failpoint: Failpoint | undefined,
  dice: Dice,
): Promise<boolean> {
  if (failpoint === undefined) {
    await delay(dice.float() * KILL_WITHIN_MS);
    await daemon.kill9();
    return false;
  }
  await until("the failpoint is reached, or nothing is left to do", async () => {
    if (!daemon.isRunning) return true;
    const known = await daemon.api.pulls().catch(() => undefined);
    return (
      known?.filter(({ id }) => pulls.some((pull) => pull.id === id)).every(isFinished) === true
    );
  });
  // What comes after the last pull: an image's name.
  await delay(200);
  const isReached = !daemon.isRunning;
  await daemon.kill9();
  return isReached;
}

/** @returns milliseconds until the daemon, its mirror before its API, answers */
async function restarted(daemon: LabDaemon): Promise<number> {
  const startMs = performance.now();
  await daemon.restart();
  return performance.now() - startMs;
}
