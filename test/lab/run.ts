import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** Runs a command to its end. Throws with what it wrote when it fails. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const [command, ...args] = argv as [string, ...string[]];
  try {
    const { stdout } = await execute(command, args, {
      maxBuffer: 64 * 1024 * 1024,
      timeout: options.timeoutMs ?? 300_000,
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    return stdout;
  } catch (error) {
    const { stdout, stderr, code } = error as { stdout?: string; stderr?: string; code?: unknown };
    const wrote = `${stdout ?? ""}${stderr ?? ""}`.trim().slice(-4000);
    throw new Error(`${argv.join(" ")} failed (${String(code)}): ${wrote}`, { cause: error });
  }
}
