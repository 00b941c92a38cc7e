import { spawn } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { AbortOptions } from "@shoal/runtime";
import type { HelperOutput } from "./helper-answer.ts";

type Variables = Readonly<Record<string, string | undefined>>;

const MAX_OUTPUT_BYTES = 64 * 1024;
/** What a helper has written is read for so long after its end: a child of its own may keep the pipe. */
const DRAIN_MS = 500;

/** The helper's program in a folder of `PATH`; one that is not absolute is passed over. */
export async function findHelper(name: string, env: Variables): Promise<string | undefined> {
  for (const folder of (env["PATH"] ?? "").split(":")) {
    if (!isAbsolute(folder)) continue;
    const path = join(folder, `docker-credential-${name}`);
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return path;
    } catch {
      // Not in this one.
    }
  }
  return undefined;
}

/** All of the daemon's environment but what is its own: logins and the token, its sockets, Node's options. */
function helperEnvironment(env: Variables): Record<string, string> {
  const own = /^(SHOAL_|NODE_|LISTEN_|NOTIFY_SOCKET$|WATCHDOG_)/;
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(env))
    if (value !== undefined && !own.test(name)) given[name] = value;
  return given;
}

export interface HelperRun extends AbortOptions {
  readonly env: Variables;
  readonly timeoutMs: number;
}

/**
 * Runs `PROGRAM get` without a shell. Whatever goes wrong is a reason, never the program's own words:
 * standard error is not read.
 */
export async function runHelper(
  program: string,
  serverUrl: string,
  { env, timeoutMs, signal }: HelperRun,
): Promise<HelperOutput | { readonly failure: string }> {
  signal?.throwIfAborted();
  const child = spawn(program, ["get"], {
    cwd: "/",
    env: helperEnvironment(env),
    // Of a process group of its own, so that nothing it has started outlives its end by force.
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  const done = Promise.withResolvers<HelperOutput | { readonly failure: string }>();
  const fail = (failure: string): void => {
    kill(child.pid);
    done.resolve({ failure });
  };
  const timer = setTimeout(() => fail(`it took longer than ${timeoutMs / 1000} s`), timeoutMs);
  const leave = (): void => {
    kill(child.pid);
    done.reject(signal!.reason);
  };
  signal?.addEventListener("abort", leave, { once: true });
  child.on("error", (error: NodeJS.ErrnoException) => {
    done.resolve({ failure: `it can't be started (${error.code ?? "unknown"})` });
  });
  child.stdout.on("data", (chunk: Buffer) => {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_OUTPUT_BYTES) fail(`it wrote more than ${MAX_OUTPUT_BYTES / 1024} KiB`);
    else chunks.push(chunk);
  });
  const end = (exitCode: number | null, by: NodeJS.Signals | null): void => {
    if (exitCode === null) done.resolve({ failure: `it was ended by ${by ?? "a signal"}` });
    else done.resolve({ exitCode, stdout: Buffer.concat(chunks).toString("utf8") });
  };
  let drain: NodeJS.Timeout | undefined;
  child.on("exit", (exitCode, by) => {
    drain = setTimeout(() => end(exitCode, by), DRAIN_MS);
  });
  child.on("close", end);
  // A helper that does not read its input may be gone before it is written.
  child.stdin.on("error", () => undefined);
  child.stdin.end(`${serverUrl}\n`);
  try {
    return await done.promise;
  } finally {
    clearTimeout(timer);
    clearTimeout(drain);
    signal?.removeEventListener("abort", leave);
    child.stdout.destroy();
  }
}

function kill(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}
