import { setTimeout as delay } from "node:timers/promises";
import { type PeerIdString, rank } from "@shoal/swarm";
import { MIB } from "../test/interop/site.ts";
import { cut, heal, slowFromRegistry } from "../test/lab/faults.ts";
import { against, type BenchOptions, type BenchResult } from "./result.ts";
import { linkBound, prepareRun, type SwarmRun, upTo } from "./swarm-run.ts";

/** Numbers of the daemons in the order in which they are to coordinate the image's layer. */
async function byRank(run: SwarmRun): Promise<number[]> {
  const ids = await Promise.all(
    run.daemons.map(async (daemon) => (await daemon.status()).peerId as PeerIdString),
  );
  const digest = run.image.blobs.at(-1)!.descriptor.digest;
  return rank(ids, digest).map((id) => ids.indexOf(id));
}

/** The layer's coordinator is killed when 30 % has crossed the uplink, its stand-in at 60 %. */
export async function lostCoordinator(options: BenchOptions): Promise<BenchResult> {
  await using run = await prepareRun({ options, layers: [options.sizeMib * MIB] });
  const [first, second, ...others] = (await byRank(run)) as [number, number, ...number[]];
  const killedSeconds: number[] = [];
  const measured = await run.measure(async () => {
    const doomed = [first, second].map(async (index) => await run.pull(index));
    const ended = Promise.allSettled(doomed);
    const pulls = Promise.all(others.map(async (index) => await run.pull(index)));
    const kill = async (index: number, share: number): Promise<void> => {
      await run.crossed(share);
      await run.daemons[index]!.kill9();
      killedSeconds.push(run.elapsed());
    };
    await Promise.race([pulls, kill(first, 0.3).then(async () => await kill(second, 0.6))]);
    await pulls;
    const seconds = run.elapsed();
    await ended;
    return seconds;
  });
  return {
    scenario: "lost-coordinator",
    ...against(linkBound(run), measured),
    checks: {
      "all others are right": await run.right(others),
      "both were killed on the way": killedSeconds.length === 2,
    },
    details: { killedSeconds },
  };
}

/** From 20 % on, the registry's bytes reach one machine at 64 KiB/s only. The others' makespan counts. */
export async function slowLessee(options: BenchOptions): Promise<BenchResult> {
  await using run = await prepareRun({ options, layers: [options.sizeMib * MIB] });
  const { lan } = run.site;
  // Neither the coordinator nor its stand-in.
  const slow = (await byRank(run)).at(-1)!;
  const others = upTo(options.nodes).filter((index) => index !== slow);
  const fetched = async (): Promise<number> =>
    (await run.daemons[slow]!.status()).traffic.fromUpstreamBytes;
  let slowSeconds = 0;
  let before = 0;
  let after = 0;
  let slowPull: Promise<void> | undefined;
  const measured = await run.measure(async () => {
    slowPull = run.pull(slow);
    slowPull.catch(() => undefined);
    const pulls = Promise.all(others.map(async (index) => await run.pull(index)));
    await run.crossed(0.2);
    before = await fetched();
    await slowFromRegistry(lan, run.places[slow]!, {
      kbit: 512,
      lanMbit: options.lanMbit ?? 10_000,
    });
    slowSeconds = run.elapsed();
    await pulls;
    after = await fetched();
    return run.elapsed();
  });
  const own = await Promise.race([slowPull!.then(() => run.elapsed()), delay(60_000)]);
  return {
    scenario: "slow-lessee",
    ...against(linkBound(run), measured),
    checks: {
      "all others are right": await run.right(others),
      "the slow one had fetched before": before > 0,
      "the slow one ends too": own !== undefined,
    },
    details: {
      slowFromSeconds: slowSeconds,
      slowOneFetchedBytesBefore: before,
      slowOneFetchedBytesAfter: after - before,
      slowOneEndedSeconds: own,
    },
  };
}

/** No packet passes between two halves from 30 % of the image on until 60 %. */
export async function partition(options: BenchOptions): Promise<BenchResult> {
  await using run = await prepareRun({ options, layers: [options.sizeMib * MIB] });
  const half = Math.ceil(options.nodes / 2);
  const everybody = upTo(options.nodes);
  const sides = [everybody.slice(0, half), everybody.slice(half)];
  const groups = [run.places.slice(0, half), run.places.slice(half)] as const;
  const fetched = async (): Promise<number[]> =>
    await Promise.all(
      sides.map(async (side) => {
        let sum = 0;
        for (const index of side)
          sum += (await run.daemons[index]!.status()).traffic.fromUpstreamBytes;
        return sum;
      }),
    );
  const times: Record<string, number> = {};
  let atCut: number[] = [];
  let atHeal: number[] = [];
  const measured = await run.measure(async () => {
    const pulls = Promise.all(everybody.map(async (index) => await run.pull(index)));
    await run.crossed(0.3);
    await cut(groups);
    times["cutSeconds"] = run.elapsed();
    atCut = await fetched();
    await Promise.race([pulls, run.crossed(0.6)]);
    await heal(groups);
    times["healedSeconds"] = run.elapsed();
    atHeal = await fetched();
    await pulls;
    return run.elapsed();
  });
  const sideBytes = await fetched();
  return {
    scenario: "partition",
    ...against(linkBound(run), measured),
    checks: {
      "every blob is right": await run.right(everybody),
      // A piece fetched twice on a side would show: together the side's members read more than one copy.
      "no side has read more than one copy": sideBytes.every((bytes) => bytes <= run.sizeBytes),
    },
    details: { ...times, sideBytesAtCut: atCut, sideBytesAtHeal: atHeal, sideBytes },
  };
}
