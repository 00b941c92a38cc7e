export interface BenchOptions {
  readonly nodes: number;
  readonly sizeMib: number;
  readonly uplinkMbit: number;
  readonly lanMbit: number;
  readonly rounds: number;
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
  /** From the first request to the last engine's end. */
  readonly makespanSeconds: number;
  /** What bounds it. */
  readonly bound: string;
  readonly boundSeconds: number;
  readonly boundRatio: number;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** For people. */
export function table(result: BenchResult): string {
  const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  return [
    `${result.scenario}: ${result.nodes} machine${result.nodes === 1 ? "" : "s"}, ${mib(result.sizeBytes)}`,
    `  makespan  ${result.makespanSeconds.toFixed(2)} s`,
    `  bound     ${result.boundSeconds.toFixed(2)} s: ${result.bound}`,
    `  ratio     ${result.boundRatio.toFixed(3)}`,
    `  uplink    ${mib(result.uplinkBytes)}, ${result.egressRatio.toFixed(4)} × one direct pull`,
  ].join("\n");
}
