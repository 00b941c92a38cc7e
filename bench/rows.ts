import type { BenchResult } from "./result.ts";

/** What a row reaches: of a scenario of the bench, or of a simulation. */
export type Figures = Pick<
  BenchResult,
  "egressRatio" | "makespanSeconds" | "boundRatio" | "maxRssBytes" | "checks"
> &
  Partial<Pick<BenchResult, "cpuSecondsPerGiB">> & { readonly messagesMean?: number };

/** What it may reach at most. */
export type Limits = Partial<
  Record<"egressRatio" | "boundRatio" | "cpuSecondsPerGiB" | "maxRssBytes" | "messagesMean", number>
>;

/** A line of the summary: a run with its parameters, and what it is held to. */
export interface Row {
  readonly name: string;
  /** As after `npm run`, without the dashes between. */
  readonly script: "bench" | "simulate";
  readonly words: string;
  readonly limits: Limits;
}

const MIB = 1024 * 1024;
/** 1.5 × the CPU time of HTTPS over TLS 1.3 with undici, sender and receiver together: 1.9 and 2.5 s/GiB. */
const CPU_SECONDS_PER_GIB = 6.6;
const UNDER_LOAD = { maxRssBytes: 300 * MIB };

function row(name: string, words: string, limits: Limits): Row {
  return { name, script: "bench", words, limits: { ...UNDER_LOAD, ...limits } };
}

function simulation(name: string, words: string, limits: Limits): Row {
  return { name, script: "simulate", words, limits };
}

/** Every row. Rates are such that two cores keep up, except where links are not shaped at all. */
export const ROWS: readonly Row[] = [
  row("cold-start-slow-uplink", "cold-start --nodes 10 --size 256 --uplink 50 --lan 200", {
    egressRatio: 1.02,
    boundRatio: 1.06,
  }),
  row("cold-start-even-links", "cold-start --nodes 10 --size 256 --uplink 200 --lan 200", {
    egressRatio: 1.02,
    boundRatio: 1.2,
  }),
  row("staggered", "staggered --nodes 10 --size 256 --uplink 200 --lan 200", {
    egressRatio: 1.02,
  }),
  row("cold-start-twenty", "cold-start --nodes 20 --size 64 --uplink 20 --lan 100", {
    egressRatio: 1.03,
    boundRatio: 1.1,
  }),
  row("many-layers", "many-layers --nodes 10 --layers 40 --uplink 50 --lan 200", {
    egressRatio: 1.05,
    boundRatio: 1.25,
  }),
  row("zones", "zones --nodes 10 --size 128 --uplink 50 --lan 200", { egressRatio: 1.05 }),
  row("lost-coordinator", "lost-coordinator --nodes 10 --size 256 --uplink 50 --lan 200", {
    egressRatio: 1.05,
    boundRatio: 1.2,
  }),
  row("liar", "liar --nodes 10 --size 256 --uplink 50 --lan 200", { egressRatio: 1.2 }),
  row("sly-liar", "sly-liar --nodes 10 --size 256 --uplink 50 --lan 200", { egressRatio: 1.2 }),
  row("slow-lessee", "slow-lessee --nodes 10 --size 256 --uplink 50 --lan 200", {
    boundRatio: 1.3,
  }),
  row("partition", "partition --nodes 10 --size 256 --uplink 50 --lan 200", {
    egressRatio: 1.4,
  }),
  row("overhead", "overhead --size 256 --uplink 200 --rounds 3", { boundRatio: 1.05 }),
  row("warm-peer", "warm-peer --size 512 --rounds 3", {
    boundRatio: 2,
    cpuSecondsPerGiB: CPU_SECONDS_PER_GIB,
  }),
  row("many-holders", "many-holders --size 512 --rounds 3", {
    boundRatio: 2,
    cpuSecondsPerGiB: CPU_SECONDS_PER_GIB,
  }),
  row("local-hit", "local-hit --size 512 --rounds 5", {}),
  row("serve", "serve --size 256 --rounds 7", { boundRatio: 1.1 }),
  row("heads", "heads --rounds 3", { boundRatio: 1 }),
  row("rolling", "rolling --nodes 5 --size 64 --uplink 50 --lan 200", {}),
  row("idle", "idle --nodes 20", { boundRatio: 1, maxRssBytes: 150 * MIB }),
  simulation("simulate-200", "--members 200 --size 256 --uplink 1000 --lan 1000", {
    egressRatio: 1.02,
    boundRatio: 1.3,
  }),
  simulation("simulate-1000", "--members 1000 --size 1024 --uplink 1000 --lan 1000 --within 2", {
    egressRatio: 1.02,
    boundRatio: 1.5,
    messagesMean: 5000,
  }),
];

/** The figures of a result that are over their limits, and the checks that fail; empty when all is well. */
export function misses(result: Figures, limits: Limits): string[] {
  const over = (Object.keys(limits) as (keyof Limits)[]).filter(
    (figure) => !((result[figure] ?? Number.NaN) <= limits[figure]!),
  );
  const failed = Object.entries(result.checks ?? {}).filter(([, holds]) => !holds);
  return [...over, ...failed.map(([check]) => check)];
}
