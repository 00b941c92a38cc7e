import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Status } from "@shoal/api";
import { formatBytes } from "../format.ts";
import { type Check, failed, ok, skipped, warning } from "./check.ts";

const ASK_MS = 5000;
const CLOCK_WARNING_MS = 30_000;
const CLOCK_FAILURE_MS = 300_000;
/** Registries that are asked for the time, until one answers. */
const MAX_REGISTRIES = 2;
/** `store.minFreeBytes`, unless it is configured: nothing is stored below. */
const MIN_FREE_BYTES = 256 * 1024 ** 2;
const LOW_FREE_BYTES = 2 * 1024 ** 3;

/** Whether engines' requests would be answered. `mirror` is `host:port`. */
export async function checkMirror(mirror: string, signal: AbortSignal): Promise<Check> {
  const url = `http://${mirror}/v2/`;
  try {
    const answer = await fetch(url, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
    });
    await answer.body?.cancel();
    if (answer.status === 200) return ok("mirror", `${url} answers`);
    return failed(
      "mirror",
      `${url} answers ${answer.status}`,
      "something else may hold the port: see mirror.listen and mirror.hosts in the configuration",
    );
  } catch (error) {
    signal.throwIfAborted();
    return failed(
      "mirror",
      `${url} does not answer (${reason(error)})`,
      "start the daemon, or see mirror.listen in the configuration",
    );
  }
}

/** The clock beside a registry's `Date`: TLS and tokens fail where they differ. */
export async function checkClock(
  registries: readonly string[],
  now: () => number,
  signal: AbortSignal,
): Promise<Check> {
  const asked = (registries.length === 0 ? ["docker.io"] : registries).slice(0, MAX_REGISTRIES);
  for (const registry of asked) {
    const offsetMs = await offsetOf(registry, now, signal);
    if (offsetMs === undefined) continue;
    const seconds = Math.round(Math.abs(offsetMs) / 1000);
    if (Math.abs(offsetMs) <= CLOCK_WARNING_MS) return ok("clock", `agrees with ${registry}`);
    const found = `${seconds} s ${offsetMs > 0 ? "before" : "behind"} ${registry}`;
    const remedy = "set the clock, and keep it: timedatectl set-ntp true";
    return Math.abs(offsetMs) > CLOCK_FAILURE_MS
      ? failed("clock", found, remedy)
      : warning("clock", found, remedy);
  }
  return skipped("clock", `no time to compare with: ${asked.join(", ")} could not be asked`);
}

async function offsetOf(
  registry: string,
  now: () => number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const isLoopback = /^(localhost|127\.[0-9.]+|\[::1\])(:|$)/.test(registry);
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  try {
    const answer = await fetch(`${isLoopback ? "http" : "https"}://${host}/v2/`, {
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
    });
    await answer.body?.cancel();
    const date = Date.parse(answer.headers.get("date") ?? "");
    return Number.isNaN(date) ? undefined : now() - date;
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

export function checkDisk({ store, stateFolder }: Status): Check {
  const found = `${formatBytes(store.freeBytes)} free in ${stateFolder}`;
  const remedy = `free some of that disk, or set \`state\` in the configuration to a folder on another`;
  if (store.freeBytes < MIN_FREE_BYTES)
    return failed("disk", `${found}: nothing more is stored`, remedy);
  if (store.freeBytes < LOW_FREE_BYTES) return warning("disk", found, remedy);
  return ok("disk", found);
}

/** The files that `docker login` and `podman login` write, of the user who asks. */
export async function checkCredentials(
  env: Readonly<Record<string, string | undefined>>,
  uid: number,
): Promise<Check> {
  const home = env["HOME"] ?? "/root";
  const runtime = env["XDG_RUNTIME_DIR"] || `/run/containers/${uid}`;
  const paths = [
    env["REGISTRY_AUTH_FILE"],
    join(runtime, "containers/auth.json"),
    join("/run/containers", String(uid), "auth.json"),
    join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "containers/auth.json"),
    join(env["DOCKER_CONFIG"] || join(home, ".docker"), "config.json"),
  ].filter((path): path is string => path !== undefined && path !== "");
  const read: string[] = [];
  for (const path of new Set(paths)) {
    const fault = await faultOf(path);
    if (fault === "absent") continue;
    if (fault !== undefined)
      return failed(
        "credentials",
        `${path} ${fault}`,
        "mend it, or log in anew with `docker login` or `podman login`, as the daemon's user",
      );
    read.push(path);
  }
  if (read.length === 0)
    return ok(
      "credentials",
      "none for this user: public images only, as the daemon's user as well",
    );
  return ok("credentials", `readable: ${read.join(", ")}; the daemon reads those of its own user`);
}

async function faultOf(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ENOTDIR" ? "absent" : `can't be read (${code})`;
  }
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? undefined : "is no JSON object";
  } catch {
    // What is wrong is not repeated: it may be a login.
    return "is no JSON";
  }
}

function reason(error: unknown): string {
  const { cause } = error as Error;
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? (error as Error).name;
}
