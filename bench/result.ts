/** What a scenario is told. Every scenario has its own defaults. */
export interface BenchOptions {
  readonly nodes: number;
  readonly sizeMib: number;
  readonly uplinkMbit: number | undefined;
  readonly lanMbit: number | undefined;
  /** Layers of the image. */
  readonly layers: number;
  readonly rounds: number;
  /** Who pulls: skopeo through the mirror, or the daemon into its own store, as the API is asked. */
  readonly client: "skopeo" | "api";
}

/** What a scenario measured, and the bound that it is held against. */
export interface BenchResult {
  readonly scenario: string;
  readonly nodes: number;
  readonly sizeBytes: number;
  /** Bytes that crossed the uplink into the site; those of one direct pull in the same run; and their ratio. */
  readonly uplinkBytes: number;
  readonly directBytes: number;
  readonly egressRatio: number;
  /** From the first request to the end of the last pull that counts. */
  readonly makespanSeconds: number;
  /** What bounds it. */
  readonly bound: string;
  readonly boundSeconds: number;
  readonly boundRatio: number;
  /** CPU time of all daemons for each GiB that their machines got. */
  readonly cpuSecondsPerGiB: number;
  /** Largest resident set that any daemon has had since its start. */
  readonly maxRssBytes: number;
  /** What one TCP transfer gets out of the links, in the same run. */
  readonly uplinkGoodputMbit?: number;
  readonly lanGoodputMbit?: number;
  /** What has to hold beside the figures. */
  readonly checks?: Readonly<Record<string, boolean>>;
  /** Whatever else is worth knowing. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What bounds a scenario's makespan. */
export type Bound = Pick<BenchResult, "bound" | "boundSeconds">;

/** Holds what was measured against what bounds it. */
export function against<M extends Pick<BenchResult, "makespanSeconds">>(
  { bound, boundSeconds }: Bound,
  measured: M,
): M & Bound & Pick<BenchResult, "boundRatio"> {
  return {
    ...measured,
    bound,
    boundSeconds,
    boundRatio: measured.makespanSeconds / boundSeconds,
  };
}

/** How a scenario is run, and what it is told when nothing is said. */
export interface Scenario {
  readonly what: string;
  readonly defaults?: Partial<BenchOptions>;
  run(options: BenchOptions): Promise<BenchResult>;
}

export const GIB = 1024 ** 3;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** For people. */
export function table(result: BenchResult): string {
  const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  const { uplinkGoodputMbit: uplink, lanGoodputMbit: lan } = result;
  const links = [
    ...(uplink === undefined ? [] : [`uplink ${uplink.toFixed(1)} Mbit/s`]),
    ...(lan === undefined ? [] : [`LAN ${lan.toFixed(1)} Mbit/s`]),
  ];
  return [
    `${result.scenario}: ${result.nodes} machine${result.nodes === 1 ? "" : "s"}, ${mib(result.sizeBytes)}`,
    ...(links.length === 0 ? [] : [`  goodput   ${links.join(", ")}`]),
    `  makespan  ${result.makespanSeconds.toFixed(2)} s`,
    `  bound     ${result.boundSeconds.toFixed(2)} s: ${result.bound}`,
    `  ratio     ${result.boundRatio.toFixed(3)}`,
    `  egress    ${mib(result.uplinkBytes)}, ${result.egressRatio.toFixed(4)} × one direct pull`,
    `  daemons   ${result.cpuSecondsPerGiB.toFixed(2)} CPU s/GiB, at most ${mib(result.maxRssBytes)} resident`,
    ...Object.entries(result.checks ?? {}).map(
      ([check, holds]) => `  ${holds ? "holds   " : "FAILS   "}  ${check}`,
    ),
    ...Object.entries(result.details ?? {}).map(
      ([name, value]) => `  ${name}: ${JSON.stringify(value)}`,
    ),
  ].join("\n");
}
