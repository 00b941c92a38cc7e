import { MIB } from "../test/interop/site.ts";
import { against, type BenchOptions, type BenchResult } from "./result.ts";
import { linkBound, prepareRun, upTo } from "./swarm-run.ts";

const RACKS = 2;
/** A rack's link is slower than its machines' together, faster than the uplink. */
const RACK_MBIT = 100;

/**
 * Two racks, each behind a link that everything into it passes, from the registry and from the other rack; each
 * machine's configuration names its rack. The egress is the busier rack's, over what one direct pull of a machine
 * brings into its rack.
 */
export async function zones(options: BenchOptions): Promise<BenchResult> {
  const rackOf = (index: number): number =>
    Math.min(RACKS - 1, Math.floor((index * RACKS) / options.nodes));
  await using run = await prepareRun({
    options,
    layers: [options.sizeMib * MIB],
    lan: { racks: RACKS, rackMbit: RACK_MBIT },
    extra: (index) => `zone: rack${rackOf(index)}`,
  });
  const { lan } = run.site;
  const intoRacks = async (): Promise<number[]> =>
    await Promise.all(upTo(RACKS).map(async (rack) => (await lan.rackBytes(rack)).in));
  const everybody = upTo(options.nodes);
  const before = await intoRacks();
  const measured = await run.measure(async () => {
    await Promise.all(everybody.map(async (index) => await run.pull(index)));
    return run.elapsed();
  });
  const rackBytes = (await intoRacks()).map((bytes, rack) => bytes - before[rack]!);
  const worst = Math.max(...rackBytes);
  return {
    scenario: "zones",
    ...against(linkBound(run), measured),
    egressRatio: worst / measured.directBytes,
    checks: { "every blob is right": await run.right(everybody) },
    details: {
      rackMbit: RACK_MBIT,
      rackBytes,
      rackBytesOverSize: worst / run.sizeBytes,
      uplinkEgressRatio: measured.egressRatio,
    },
  };
}
