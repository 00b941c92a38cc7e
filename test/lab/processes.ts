import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

/** A process that goes on until it is stopped. Disposing stops it. */
export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<number | null>;
  readonly isRunning: boolean;
  /** Everything that it has written so far. */
  output(): Promise<string>;
  kill(signal: NodeJS.Signals): void;
}

export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** What it writes goes here. */
  readonly outputFile: string;
}

export function start(argv: readonly string[], options: StartOptions): Running {
  const [command, ...args] = argv as [string, ...string[]];
  const child: ChildProcess = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const file = createWriteStream(options.outputFile, { flags: "a" });
  child.stdout!.pipe(file, { end: false });
  child.stderr!.pipe(file, { end: false });
  const exited = new Promise<number | null>((resolve) => {
    child.once("error", () => resolve(null));
    child.once("close", (code) => {
      file.end();
      resolve(code);
    });
  });
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    pid: child.pid ?? 0,
    exited,
    get isRunning() {
      return isRunning();
    },
    output: async () => await readFile(options.outputFile, "utf8").catch(() => ""),
    kill: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      if (!isRunning()) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Waits until `probe` holds; throws with `what` after the time is up. */
export async function until(
  what: string,
  probe: () => Promise<boolean> | boolean,
  limitMs = 60_000,
): Promise<void> {
  const startMs = performance.now();
  while (!(await probe())) {
    if (performance.now() - startMs > limitMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await delay(50);
  }
}
