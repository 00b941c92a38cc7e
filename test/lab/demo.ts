/**
 * `npm run demo`: a LAN of five machines that pull one image at the same moment through a slow uplink, beside
 * what pulling it directly costs. Network namespaces where it runs as root, loopback otherwise.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Status } from "@shoal/api";
import { createSiteToken } from "@shoal/network";
import { type LabDaemon, startDaemon } from "./daemon.ts";
import { createImage, imageBytes, pushImage } from "./images.ts";
import { prepareLab } from "./install.ts";
import { createLan, type Lan, type Place } from "./lan.ts";
import { startLoopbackRegistry, startRegistry } from "./registry.ts";
import { run } from "./run.ts";

const MACHINES = 5;
const UPLINK_MBIT = 50;
const LAYERS_MIB = [1, 6, 12, 21];
const MIB = 1024 * 1024;
const MAX_BAR = 30;
/** The name before a bar, and the two counts after it. */
const NAME_COLUMNS = 13;
const COUNTS_COLUMNS = 39;
const isTerminal = process.stdout.isTTY;

function say(text = ""): void {
  process.stdout.write(`${text}\n`);
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

interface Row {
  readonly name: string;
  readonly traffic: Status["traffic"];
}

function bar({ name, traffic }: Row, total: number): string {
  const { fromUpstreamBytes, fromPeersBytes } = traffic;
  const columns = process.stdout.columns ?? 80;
  const hasCounts = columns - NAME_COLUMNS - COUNTS_COLUMNS >= 10;
  const room = Math.max(1, columns - NAME_COLUMNS - (hasCounts ? COUNTS_COLUMNS : 0) - 1);
  const wide = Math.min(MAX_BAR, room);
  const width = (bytes: number): number => Math.min(wide, Math.round((bytes / total) * wide));
  const registry = width(fromUpstreamBytes);
  const both = width(fromUpstreamBytes + fromPeersBytes);
  const drawn = "█".repeat(registry) + "▓".repeat(Math.max(0, both - registry));
  const counts = `  ${mib(fromUpstreamBytes).padStart(9)} registry  ${mib(fromPeersBytes).padStart(9)} peers`;
  return `  ${name}  ${drawn.padEnd(wide, "·")}${hasCounts ? counts : ""}`;
}

/** Shows on a terminal how long `work` has taken and what it has brought, until it is done. */
async function tick(work: Promise<void>, broughtBytes: () => Promise<number>): Promise<void> {
  const startMs = performance.now();
  let working = isTerminal;
  const ended = work.finally(() => {
    working = false;
  });
  ended.catch(() => undefined);
  while (working) {
    const line = `  ${seconds(performance.now() - startMs)}, ${mib(await broughtBytes())}`;
    process.stdout.write(`\r\u001B[2K${line}`);
    await Promise.race([delay(200), ended.catch(() => undefined)]);
  }
  if (isTerminal) process.stdout.write("\r\u001B[2K");
  await ended;
}

/** Draws the machines until `done` settles; without a terminal only at the end. */
async function watch(
  daemons: readonly LabDaemon[],
  total: number,
  done: Promise<unknown>,
): Promise<void> {
  let finished = false;
  const ended = done.finally(() => {
    finished = true;
  });
  ended.catch(() => undefined);
  let drawn = false;
  for (;;) {
    const last = finished;
    const rows = await Promise.all(
      daemons.map(async (daemon, index) => ({
        name: `machine ${index + 1}`,
        traffic: (await daemon.status()).traffic,
      })),
    );
    if (isTerminal || last) {
      if (drawn) process.stdout.write(`\u001B[${rows.length}A`);
      for (const row of rows)
        say(`\u001B[2K${bar(row, total)}`.replace(isTerminal ? "" : "\u001B[2K", ""));
      drawn = true;
    }
    if (last) break;
    await Promise.race([delay(200), ended.catch(() => undefined)]);
  }
  await ended;
}

interface Scene extends AsyncDisposable {
  readonly registry: string;
  /** Puts `argv` into the machine's place. */
  within(machine: number, argv: readonly string[]): readonly string[];
  daemon(machine: number): Promise<LabDaemon>;
  mirror(machine: number): string;
  /** Bytes that have crossed the uplink into the site. */
  uplinkBytes(): Promise<number>;
}

const image = createImage(LAYERS_MIB.map((size) => size * MIB));

async function createNamespaceScene(folder: string): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const lan: Lan = stack.use(
    await createLan({ machines: MACHINES, uplinkMbit: UPLINK_MBIT, lanMbit: 1000 }),
  );
  const registry = stack.use(await startRegistry(lan.registry, join(folder, "registry")));
  await pushImage(lan.registry, registry.url, "demo", "v1", image, join(folder, "push"));
  const token = createSiteToken();
  const place = (machine: number): Place => lan.machines[machine]!;
  const later = stack.move();
  return {
    registry: registry.host,
    within: (machine, argv) => place(machine).within(argv),
    async daemon(machine) {
      const init = { place: place(machine), folder: join(folder, `m${machine}`), token };
      return later.use(await startDaemon({ ...init, registry: registry.host }));
    },
    mirror: () => "127.0.0.1:5055",
    uplinkBytes: async () => (await lan.uplinkBytes()).in,
    [Symbol.asyncDispose]: async () => await later.disposeAsync(),
  };
}

async function createLoopbackScene(folder: string): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await startLoopbackRegistry(join(folder, "registry"), UPLINK_MBIT));
  await pushImage(registry.place, registry.directUrl, "demo", "v1", image, join(folder, "push"));
  const token = createSiteToken();
  const base = 20_000 + (process.pid % 20_000);
  const peers = Array.from({ length: MACHINES }, (_, machine) => `127.0.0.1:${base + machine}`);
  const later = stack.move();
  return {
    registry: registry.host,
    within: (_machine, argv) => argv,
    async daemon(machine) {
      const extra = `metrics: { listen: ["127.0.0.1:0"] }\nswarm: { listen: [127.0.0.1], port: ${base + machine}, mdns: false, peers: ${JSON.stringify(peers)} }`;
      const init = { folder: join(folder, `m${machine}`), token, registry: registry.host };
      return later.use(
        await startDaemon({ ...init, extra, mirror: `127.0.0.1:${base + 100 + machine}` }),
      );
    },
    mirror: (machine) => `127.0.0.1:${base + 100 + machine}`,
    uplinkBytes: async () => registry.passedBytes(),
    [Symbol.asyncDispose]: async () => await later.disposeAsync(),
  };
}

async function main(): Promise<void> {
  const namespaces = process.getuid?.() === 0;
  const programs = namespaces
    ? ["ip", "nsenter", "sysctl", "curl", "docker-registry", "skopeo"]
    : ["curl", "docker-registry", "skopeo"];
  say(`${MACHINES} machines pull one image, first without and then with Shoal, all on this one.`);
  say(
    namespaces
      ? "Each is a network namespace; all of it is taken down at the end."
      : "As root each would have a network of its own; they share loopback now.",
  );
  const reason = await prepareLab(programs, namespaces, say);
  if (reason !== undefined) {
    say(`The demo can't run here: ${reason}.`);
    say("On Debian or Ubuntu: sudo apt-get install docker-registry skopeo curl iproute2");
    process.exitCode = 1;
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), "shoal-demo-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => await rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  const total = imageBytes(image);
  say(`The registry is behind an uplink of ${UPLINK_MBIT} Mbit/s; the image has ${mib(total)}.`);
  say("Making the machines, the registry and the image …");
  const scene = stack.use(
    namespaces ? await createNamespaceScene(folder) : await createLoopbackScene(folder),
  );

  const copy = async (machine: number, source: string, target: string): Promise<void> => {
    const argv = [
      "skopeo",
      "copy",
      "--src-tls-verify=false",
      `docker://${source}/demo:v1`,
      `dir:${target}`,
    ];
    await run(scene.within(machine, argv));
  };
  say();
  say("One machine pulls it from the registry itself …");
  const directStart = performance.now();
  const directBefore = await scene.uplinkBytes();
  await tick(
    copy(0, scene.registry, join(folder, "direct")),
    async () => (await scene.uplinkBytes()) - directBefore,
  );
  const directMs = performance.now() - directStart;
  const direct = (await scene.uplinkBytes()) - directBefore;
  say(`  ${seconds(directMs)}, ${mib(direct)} over the uplink`);
  say();

  say(`Starting ${MACHINES} daemons, which find each other …`);
  const daemons = await Promise.all(
    Array.from({ length: MACHINES }, async (_, machine) => await scene.daemon(machine)),
  );
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(MACHINES - 1)));
  say(`All ${MACHINES} pull it at the same moment, through Shoal …`);
  say("█ registry  ▓ peers  · missing");
  const sharedStart = performance.now();
  const sharedBefore = await scene.uplinkBytes();
  const inPath = scene.registry.replace(":", "_");
  const pulls = daemons.map(
    async (_, machine) =>
      await copy(machine, `${scene.mirror(machine)}/${inPath}`, join(folder, `pull${machine}`)),
  );
  await watch(daemons, total, Promise.all(pulls));
  const sharedMs = performance.now() - sharedStart;
  const shared = (await scene.uplinkBytes()) - sharedBefore;
  say(`  ${seconds(sharedMs)}, ${mib(shared)} over the uplink`);
  say();
  const times = (value: number, one: number): string => `${(value / one).toFixed(2)} ×`;
  const compare = (what: string, bytes: number, ms: number): void =>
    say(
      `${what.padEnd(25)}${mib(bytes).padStart(10)} ${times(bytes, direct)}${seconds(ms).padStart(10)} ${times(ms, directMs)}`,
    );
  say(`${"".padEnd(25)}${"uplink".padStart(10)}${"time".padStart(17)}`);
  compare("1 machine, direct", direct, directMs);
  compare(`${MACHINES} machines, with Shoal`, shared, sharedMs);
  compare(`${MACHINES} machines, direct *`, direct * MACHINES, directMs * MACHINES);
  say("* reckoned from the first line: all share the uplink");
  say();
  say("Next: `npm start` here and on a second machine, then README.md, Join machines to a site.");
}

let interrupted = false;
// Every process of the demo hears the interrupt too; main ends by their end, and takes everything down.
process.on("SIGINT", () => {
  interrupted = true;
});
try {
  await main();
} catch (error) {
  if (!interrupted) throw error;
  say("\nstopped");
  process.exitCode = 130;
}
process.exit();
