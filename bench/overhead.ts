import { createImage, imageBytes } from "../test/lab/images.ts";
import { createSite, MIB } from "../test/interop/site.ts";
import { against, type BenchOptions, type BenchResult, GIB, median } from "./result.ts";
import { meterUsage } from "./usage.ts";

/** A daemon with no peers against a direct pull of the same client, in turns, each round with a fresh image. */
export async function overhead(options: BenchOptions): Promise<BenchResult> {
  const { sizeMib, uplinkMbit, rounds } = options;
  await using site = await createSite({
    machines: 1,
    ...(uplinkMbit === undefined ? {} : { uplinkMbit }),
  });
  const [place] = site.lan.machines;
  const daemon = await site.daemon(place!, { token: undefined });
  const times = { mirror: [] as number[], registry: [] as number[] };
  const bytes = { mirror: 0, registry: 0 };
  let sizeBytes = 0;
  let cpuSeconds = 0;
  let maxRssBytes = 0;
  for (let round = 0; round < rounds; round++) {
    const image = createImage([sizeMib * MIB]);
    sizeBytes = imageBytes(image);
    await site.push("app", `r${round}`, image);
    const measure = async (from: "mirror" | "registry"): Promise<void> => {
      bytes[from] += await site.uplink(async () => {
        const startMs = performance.now();
        await site.copy(place!, `app:r${round}`, from);
        times[from].push((performance.now() - startMs) / 1000);
      });
    };
    const through = async (): Promise<void> => {
      const meter = await meterUsage([daemon.pid]);
      await measure("mirror");
      const [usage] = await meter.end();
      cpuSeconds += usage!.cpuSeconds;
      maxRssBytes = usage!.maxRssBytes;
    };
    // In turns, and each first every other time: what one leaves in caches is the other's gain.
    if (round % 2 === 0) await measure("registry");
    await through();
    if (round % 2 === 1) await measure("registry");
  }
  const makespanSeconds = median(times.mirror);
  const boundSeconds = median(times.registry);
  return {
    scenario: "overhead",
    nodes: 1,
    sizeBytes,
    uplinkBytes: Math.round(bytes.mirror / rounds),
    directBytes: Math.round(bytes.registry / rounds),
    egressRatio: bytes.mirror / bytes.registry,
    ...against(
      { bound: "a direct pull of the same client, median of the same run", boundSeconds },
      { makespanSeconds },
    ),
    cpuSecondsPerGiB: cpuSeconds / ((sizeBytes * rounds) / GIB),
    maxRssBytes,
    details: { throughSeconds: times.mirror, directSeconds: times.registry },
  };
}
