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
const BAR = 30;
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
  const width = (bytes: number): number => Math.min(BAR, Math.round((bytes / total) * BAR));
  const registry = width(fromUpstreamBytes);
  const both = Math.min(BAR, width(fromUpstreamBytes + fromPeersBytes));
  const drawn = "█".repeat(registry) + "▓".repeat(Math.max(0, both - registry));
  return `  ${name}  ${drawn.padEnd(BAR, "░")}  ${mib(fromUpstreamBytes).padStart(9)} registry  ${mib(fromPeersBytes).padStart(9)} peers`;
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
  const reason = await prepareLab(programs, namespaces);
  if (reason !== undefined) {
    say(`The demo can't run here: ${reason}.`);
    say("On Debian: apt-get install docker-registry skopeo curl iproute2");
    process.exitCode = 1;
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), "shoal-demo-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => await rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  const total = imageBytes(image);
  say(
    `A site of ${MACHINES} machines, ${namespaces ? "each in a network namespace" : "on loopback"}.`,
  );
  say(`Its registry is behind an uplink of ${UPLINK_MBIT} Mbit/s; the image has ${mib(total)}.`);
  say();
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
  say("One machine pulls it from the registry itself …");
  const directStart = performance.now();
  const directBefore = await scene.uplinkBytes();
  await copy(0, scene.registry, join(folder, "direct"));
  const directMs = performance.now() - directStart;
  const direct = (await scene.uplinkBytes()) - directBefore;
  say(`  ${seconds(directMs)}, ${mib(direct)} over the uplink`);
  say();

  const daemons = await Promise.all(
    Array.from({ length: MACHINES }, async (_, machine) => await scene.daemon(machine)),
  );
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(MACHINES - 1)));
  say(
    `All ${MACHINES} pull it at the same moment, through Shoal (█ from the registry, ▓ from each other) …`,
  );
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
  say(
    `Over the uplink      ${mib(shared).padStart(10)}   ${(shared / direct).toFixed(2)} × one pull`,
  );
  say(
    `Five direct pulls    ${mib(direct * MACHINES).padStart(10)}   ${MACHINES}.00 ×, and at least ${seconds(directMs * MACHINES)} on this uplink`,
  );
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
