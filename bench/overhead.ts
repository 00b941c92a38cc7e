import { createImage, imageBytes } from "../test/lab/images.ts";
import { createSite, MIB } from "../test/interop/site.ts";
import { type BenchOptions, type BenchResult, median } from "./result.ts";

/** A daemon with no peers against a direct pull of the same client, in turns, each round with a fresh image. */
export async function overhead(options: BenchOptions): Promise<BenchResult> {
  const { sizeMib, uplinkMbit, rounds } = options;
  await using site = await createSite({ machines: 1, uplinkMbit });
  const [place] = site.lan.machines;
  await site.daemon(place!, { token: undefined });
  const direct: number[] = [];
  const through: number[] = [];
  let uplinkBytes = 0;
  let directBytes = 0;
  let sizeBytes = 0;
  for (let round = 0; round < rounds; round++) {
    const image = createImage([sizeMib * MIB]);
    sizeBytes = imageBytes(image);
    const reference = `app:r${round}`;
    await site.push("app", `r${round}`, image);
    const measure = async (from: "mirror" | "registry", times: number[]): Promise<number> =>
      await site.uplink(async () => {
        const startMs = performance.now();
        await site.copy(place!, reference, from);
        times.push((performance.now() - startMs) / 1000);
      });
    // In turns, and each first every other time: what one leaves in caches is the other's gain.
    if (round % 2 === 0) directBytes = await measure("registry", direct);
    uplinkBytes = await measure("mirror", through);
    if (round % 2 === 1) directBytes = await measure("registry", direct);
  }
  const makespanSeconds = median(through);
  const boundSeconds = median(direct);
  return {
    scenario: "overhead",
    nodes: 1,
    sizeBytes,
    uplinkBytes,
    directBytes,
    egressRatio: uplinkBytes / directBytes,
    makespanSeconds,
    bound: "a direct pull of the same client, median of the same run",
    boundSeconds,
    boundRatio: makespanSeconds / boundSeconds,
  };
}
