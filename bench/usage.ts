import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

/** USER_HZ, which Linux fixes for what it tells programs. */
const TICKS_PER_SECOND = 100;

export interface Usage {
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  readonly maxRssBytes: number;
}

/** What a process has used so far, all its threads together; `undefined` when it has ended. */
export async function usageOf(pid: number): Promise<Usage | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    // The name before may hold anything; the fields after it are numbered from 3.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const kib = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+([0-9]+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
      rssBytes: kib("VmRSS"),
      maxRssBytes: kib("VmHWM"),
    };
  } catch {
    return undefined;
  }
}

export interface UsageMeter {
  /** CPU time of each since the meter began, and the largest resident set of each. In the order of the pids. */
  end(): Promise<readonly Usage[]>;
}

/** Watches processes; of one that ends meanwhile, what was last seen counts. */
export async function meterUsage(pids: readonly number[]): Promise<UsageMeter> {
  const none: Usage = { cpuSeconds: 0, rssBytes: 0, maxRssBytes: 0 };
  const first = await Promise.all(pids.map(async (pid) => (await usageOf(pid)) ?? none));
  const last = [...first];
  const look = async (): Promise<void> => {
    for (const [index, pid] of pids.entries()) last[index] = (await usageOf(pid)) ?? last[index]!;
  };
  const stopped = new AbortController();
  const watching = (async () => {
    while (!stopped.signal.aborted) {
      await delay(500, undefined, { signal: stopped.signal }).catch(() => undefined);
      await look();
    }
  })();
  return {
    async end() {
      stopped.abort();
      await watching;
      return last.map((usage, index) => ({
        ...usage,
        cpuSeconds: usage.cpuSeconds - first[index]!.cpuSeconds,
      }));
    },
  };
}
