import { setTimeout as delay } from "node:timers/promises";
import { createSite } from "../test/interop/site.ts";
import type { LinkBytes } from "../test/lab/lan.ts";
import { run } from "../test/lab/run.ts";
import { against, type BenchOptions, type BenchResult } from "./result.ts";
import { meterUsage, usageOf } from "./usage.ts";

const WINDOW_SECONDS = 30;
const SETTLE_MS = 10_000;

/** A site that nobody asks anything: memory, CPU time, and what the members say to each other. */
export async function idle(options: BenchOptions): Promise<BenchResult> {
  await using site = await createSite({ machines: options.nodes });
  const places = site.lan.machines;
  const daemons = await Promise.all(places.map(async (place) => await site.daemon(place)));
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(options.nodes - 1)));
  // Meeting each other is work of its own.
  await delay(SETTLE_MS);
  const wire = async (): Promise<LinkBytes[]> =>
    await Promise.all(places.map(async (place) => await site.lan.machineBytes(place)));
  const requests = async (): Promise<number> => {
    const url = "http://127.0.0.1:5057/metrics";
    const texts = await Promise.all(
      places.map(async (place) => await run(place.within(["curl", "-fsS", url]))),
    );
    let sum = 0;
    for (const text of texts)
      for (const [, count] of text.matchAll(/^shoal_network_requests_total\S* ([0-9.e+]+)/gm))
        sum += Number(count);
    return sum;
  };
  const requestsBefore = await requests();
  const before = await wire();
  const meter = await meterUsage(daemons.map(({ pid }) => pid));
  const uplinkBytes = await site.uplink(async () => await delay(WINDOW_SECONDS * 1000));
  const usage = await meter.end();
  const after = await wire();
  const said = (await requests()) - requestsBefore;
  const now = await Promise.all(daemons.map(async ({ pid }) => await usageOf(pid)));
  const worst = Math.max(...usage.map(({ cpuSeconds }) => cpuSeconds));
  const mean = usage.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0) / usage.length;
  const perMember = (bytes: (link: LinkBytes) => number): number =>
    after.reduce((sum, link, index) => sum + bytes(link) - bytes(before[index]!), 0) /
    options.nodes /
    WINDOW_SECONDS;
  return {
    scenario: "idle",
    nodes: options.nodes,
    sizeBytes: 0,
    uplinkBytes,
    directBytes: 0,
    egressRatio: 0,
    ...against(
      {
        bound: `one per cent of a core for ${WINDOW_SECONDS} s; the makespan is the CPU time of the busiest daemon`,
        boundSeconds: WINDOW_SECONDS / 100,
      },
      { makespanSeconds: worst },
    ),
    cpuSecondsPerGiB: 0,
    maxRssBytes: Math.max(...usage.map((one) => one.maxRssBytes)),
    details: {
      meanCpuPercent: (mean / WINDOW_SECONDS) * 100,
      worstCpuPercent: (worst / WINDOW_SECONDS) * 100,
      meanRssBytes: Math.round(
        now.reduce((sum, one) => sum + (one?.rssBytes ?? 0), 0) / now.length,
      ),
      sentBytesPerSecondPerMember: perMember((link) => link.out),
      receivedBytesPerSecondPerMember: perMember((link) => link.in),
      sentPacketsPerSecondPerMember: perMember((link) => link.packetsOut),
      requestsPerSecondPerMember: said / options.nodes / WINDOW_SECONDS,
    },
  };
}
