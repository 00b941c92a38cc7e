import type { Status } from "@shoal/api";
import { formatBytes } from "../format.ts";
import { type Check, failed, ok, skipped, warning } from "./check.ts";

const ASK_MS = 5000;
const CLOCK_WARNING_MS = 30_000;
const CLOCK_FAILURE_MS = 300_000;
/** Registries that are asked for the time, until one answers. */
const MAX_REGISTRIES = 2;
/** Where the daemon does not tell its floor. */
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

/** Certificates are renewed in their last third; one that is nearer to its end than a tenth was not. */
export function checkCertificate(
  { name, issuedAt, notAfter }: NonNullable<Status["certificate"]>,
  nowMs: number,
): Check {
  const leftMs = Date.parse(notAfter) - nowMs;
  const found = `${name}, until ${notAfter.slice(0, 16).replace("T", " ")}`;
  if (leftMs <= 0)
    return failed(
      "certificate",
      `${found}: no member admits this machine any more`,
      "make a join token on an issuer (`shoal token create`), and give it to `shoal join` here",
    );
  if (leftMs < (Date.parse(notAfter) - Date.parse(issuedAt)) / 10)
    return warning(
      "certificate",
      `${found}, and nobody has renewed it`,
      "see that a member with the role issuer is up, and has the site key: `shoal members`",
    );
  return ok("certificate", found);
}

export function checkDisk({ store, stateFolder }: Status): Check {
  const found = `${formatBytes(store.freeBytes)} free in ${stateFolder}`;
  const remedy = `free some of that disk, or set \`state\` in the configuration to a folder on another`;
  const { state = "ok", why } = store;
  if (state !== "ok") return failed("disk", `${found}: ${why ?? state}`, remedy);
  if (store.minFreeBytes === undefined)
    return store.freeBytes < LOW_FREE_BYTES ? warning("disk", found, remedy) : ok("disk", found);
  if (store.freeBytes < store.minFreeBytes) {
    const floor = formatBytes(store.minFreeBytes);
    return failed("disk", `${found}, under the floor of ${floor}: nothing more is stored`, remedy);
  }
  return ok("disk", found);
}

function reason(error: unknown): string {
  const { cause } = error as Error;
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? (error as Error).name;
}
