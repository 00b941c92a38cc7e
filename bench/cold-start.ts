import { createImage, imageBytes } from "../test/lab/images.ts";
import { createSite, MIB } from "../test/interop/site.ts";
import type { BenchOptions, BenchResult } from "./result.ts";

/** Every machine pulls one image at the same moment, against the time that one copy takes to cross the uplink. */
export async function coldStart(options: BenchOptions): Promise<BenchResult> {
  const { nodes, sizeMib, uplinkMbit, lanMbit } = options;
  await using site = await createSite({ machines: nodes, uplinkMbit, lanMbit });
  const places = site.lan.machines;
  const image = createImage([sizeMib * MIB]);
  await site.push("app", "v1", image);
  const daemons = await Promise.all(places.map(async (place) => await site.daemon(place)));
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(nodes - 1)));
  const timed = async (
    work: () => Promise<unknown>,
  ): Promise<{ bytes: number; seconds: number }> => {
    const startMs = performance.now();
    const bytes = await site.uplink(work);
    return { bytes, seconds: (performance.now() - startMs) / 1000 };
  };
  const direct = await timed(async () => await site.copy(places[0]!, "app:v1", "registry"));
  const shared = await timed(
    async () =>
      await Promise.all(places.map(async (place) => await site.copy(place, "app:v1", "mirror"))),
  );
  return {
    scenario: "cold-start",
    nodes,
    sizeBytes: imageBytes(image),
    uplinkBytes: shared.bytes,
    directBytes: direct.bytes,
    egressRatio: shared.bytes / direct.bytes,
    makespanSeconds: shared.seconds,
    bound: "one direct pull in the same run",
    boundSeconds: direct.seconds,
    boundRatio: shared.seconds / direct.seconds,
  };
}
