import { MIB } from "../test/interop/site.ts";
import { against, type BenchOptions, type BenchResult } from "./result.ts";
import { linkBound, prepareRun, type SwarmRun, upTo } from "./swarm-run.ts";

/** Sizes of a layer each, from 10 KiB to 8 MiB, each larger than the one before by the same factor. */
function layerSizes(count: number): number[] {
  const [least, most] = [10 * 1024, 8 * MIB];
  return upTo(count).map((index) =>
    Math.round(least * (most / least) ** (count === 1 ? 1 : index / (count - 1))),
  );
}

async function allAtOnce(run: SwarmRun, scenario: string): Promise<BenchResult> {
  const everybody = upTo(run.daemons.length);
  const measured = await run.measure(async () => {
    await Promise.all(everybody.map(async (index) => await run.pull(index)));
    return run.elapsed();
  });
  return {
    scenario,
    ...against(linkBound(run), measured),
    checks: { "every blob is right": await run.right(everybody) },
  };
}

/** Every machine pulls one image at the same moment. */
export async function coldStart(options: BenchOptions): Promise<BenchResult> {
  const layers = upTo(options.layers).map(() =>
    Math.round((options.sizeMib * MIB) / options.layers),
  );
  await using run = await prepareRun({ options, layers });
  return await allAtOnce(run, "cold-start");
}

/** The same with an image of many layers, small and large. */
export async function manyLayers(options: BenchOptions): Promise<BenchResult> {
  await using run = await prepareRun({ options, layers: layerSizes(options.layers) });
  return await allAtOnce(run, "many-layers");
}

/** One half begins, the other joins when half of the image has crossed the uplink. */
export async function staggered(options: BenchOptions): Promise<BenchResult> {
  await using run = await prepareRun({ options, layers: [options.sizeMib * MIB] });
  const everybody = upTo(options.nodes);
  const half = Math.ceil(options.nodes / 2);
  let joinedSeconds = 0;
  const measured = await run.measure(async () => {
    const first = everybody.slice(0, half).map(async (index) => await run.pull(index));
    await run.crossed(0.5);
    joinedSeconds = run.elapsed();
    const second = everybody.slice(half).map(async (index) => await run.pull(index));
    await Promise.all([...first, ...second]);
    return run.elapsed();
  });
  const firstSeconds = Math.max(run.uplinkSeconds, run.lanSeconds);
  const boundSeconds = Math.max(firstSeconds, joinedSeconds + run.lanSeconds);
  return {
    scenario: "staggered",
    ...against(
      {
        bound: "one copy over the slower link, or over the links of those who joined, from then on",
        boundSeconds,
      },
      measured,
    ),
    checks: { "every blob is right": await run.right(everybody) },
    details: { joinedSeconds },
  };
}

/** One machine after another. */
export async function rolling(options: BenchOptions): Promise<BenchResult> {
  await using run = await prepareRun({ options, layers: [options.sizeMib * MIB] });
  const everybody = upTo(options.nodes);
  const endedSeconds: number[] = [];
  const measured = await run.measure(async () => {
    for (const index of everybody) {
      await run.pull(index);
      endedSeconds.push(run.elapsed());
    }
    return run.elapsed();
  });
  const boundSeconds =
    Math.max(run.uplinkSeconds, run.lanSeconds) + (options.nodes - 1) * run.lanSeconds;
  return {
    scenario: "rolling",
    ...against(
      {
        bound: "one copy over the slower link, then one over each other machine's link",
        boundSeconds,
      },
      measured,
    ),
    checks: { "every blob is right": await run.right(everybody) },
    details: { endedSeconds },
  };
}
