/**
 * Loaded before a daemon (`--import …/kill-at.ts?FILE`), so that it kills itself at a call of the file system, of
 * which the daemon's own code knows nothing. On SIGUSR2 it reads from FILE at which: a {@link Failpoint} as JSON.
 */
import fs from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { type Failpoint, isAt } from "./failpoints.ts";

type Call = (...args: unknown[]) => Promise<unknown>;

const file = decodeURIComponent(new URL(import.meta.url).search.slice(1));
const paths = new WeakMap<object, string>();
let armed: Failpoint | undefined;
let calls = 0;

process.on("SIGUSR2", () => {
  armed = JSON.parse(fs.readFileSync(file, "utf8")) as Failpoint;
  calls = 0;
});

/** Ends the process where it stands, as a cut of its power would. */
async function die(): Promise<never> {
  process.kill(process.pid, "SIGKILL");
  return await new Promise<never>(() => undefined);
}

function wrap(of: Record<string, Call>, name: string): void {
  const real = of[name]!;
  of[name] = async function (this: FileHandle, ...args) {
    const path = typeof args[0] === "string" ? args[0] : (paths.get(this) ?? "");
    const isHere = armed !== undefined && isAt(armed, name, path) && ++calls === armed.count;
    if (isHere && armed?.when === "before") await die();
    if (isHere && armed?.when === "half") {
      if (name === "writeFile") {
        const whole = args[0] as Uint8Array | string;
        await real.call(this, whole.slice(0, whole.length / 2));
      } else {
        const [bytes, offset, length, position] = args as [Uint8Array, number, number, number];
        await real.call(this, bytes, offset, Math.floor(length / 2), position);
      }
      await die();
    }
    const result = await real.apply(this, args);
    if (name === "open") paths.set(result as object, path);
    if (isHere) await die();
    return result;
  };
}

const folder = fs.promises as unknown as Record<string, Call>;
for (const name of ["open", "rename", "rm"]) wrap(folder, name);
const anyFile = await fs.promises.open(import.meta.filename, "r");
const handle = Object.getPrototypeOf(anyFile) as Record<string, Call>;
await anyFile.close();
for (const name of ["write", "datasync", "sync", "writeFile"]) wrap(handle, name);
syncBuiltinESMExports();
