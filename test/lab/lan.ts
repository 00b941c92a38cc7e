import { readdir } from "node:fs/promises";
import { run } from "./run.ts";

/** A network namespace that processes can be run in. */
export interface Place {
  /** Name of the namespace. */
  readonly name: string;
  readonly address: string;
  /** The command line that runs `argv` there. */
  within(argv: readonly string[]): string[];
}

export interface UplinkBytes {
  /** What came into the site, and what went out of it, on the wire. */
  readonly in: number;
  readonly out: number;
}

export interface LanInit {
  readonly machines: number;
  /** Rate of the way to the registry, each way. @default unlimited */
  readonly uplinkMbit?: number;
  /** Rate of each machine's link, each way. @default unlimited */
  readonly lanMbit?: number;
}

/**
 * A site in network namespaces: machines 10.77.0.11… on a bridge, and behind a routed uplink the registry's
 * place, 10.78.0.2, which hears no multicast. Disposing removes all of it.
 */
export interface Lan extends AsyncDisposable {
  readonly machines: readonly Place[];
  readonly registry: Place;
  addMachine(): Promise<Place>;
  /** Counted by the kernel on the site's side of the uplink. */
  uplinkBytes(): Promise<UplinkBytes>;
}

const PREFIX = "shoal";

/** Makes a site. Needs root, and iproute2. */
export async function createLan(init: LanInit): Promise<Lan> {
  await removeLeftovers();
  const tag = `${PREFIX}${process.pid}x${(lanCount++).toString(36)}`;
  const router = `${tag}-r`;
  const registry = place(`${tag}-o`, "10.78.0.2");
  const machines: Place[] = [];

  async function removeAll(): Promise<void> {
    const names = [router, registry.name, ...machines.map(({ name }) => name)];
    const removed = await Promise.allSettled(
      names.map(async (name) => await run(["ip", "netns", "del", name])),
    );
    const failed = removed.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  async function addMachine(): Promise<Place> {
    const number = machines.length + 11;
    const machine = place(`${tag}-m${number}`, `10.77.0.${number}`);
    machines.push(machine);
    const port = `p${number}`;
    await batch([
      `netns add ${machine.name}`,
      `-n ${router} link add ${port} type veth peer name eth0 netns ${machine.name}`,
      `-n ${router} link set ${port} master lan0 up`,
      `-n ${machine.name} link set lo up`,
      `-n ${machine.name} addr add ${machine.address}/24 dev eth0`,
      `-n ${machine.name} link set eth0 up`,
      `-n ${machine.name} route add default via 10.77.0.1`,
      // A name server that does not answer costs some engines 10 s a pull; one that can't be reached, nothing.
      ...(await nameServers()).map(
        (server) => `-n ${machine.name} route add unreachable ${server}`,
      ),
    ]);
    if (init.lanMbit !== undefined) {
      await shape(router, port, init.lanMbit);
      await shape(machine.name, "eth0", init.lanMbit);
    }
    return machine;
  }

  await batch([
    `netns add ${router}`,
    `netns add ${registry.name}`,
    `-n ${router} link set lo up`,
    `-n ${registry.name} link set lo up`,
    `-n ${router} link add lan0 type bridge`,
    `-n ${router} addr add 10.77.0.1/24 dev lan0`,
    `-n ${router} link set lan0 up`,
    `-n ${router} link add up0 type veth peer name eth0 netns ${registry.name}`,
    `-n ${router} addr add 10.78.0.1/24 dev up0`,
    `-n ${router} link set up0 up`,
    `-n ${registry.name} addr add ${registry.address}/24 dev eth0`,
    `-n ${registry.name} link set eth0 up`,
    `-n ${registry.name} route add default via 10.78.0.1`,
  ]);
  await run(["ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  // Frames of the size that a real line carries: else the kernel counts one header for up to 64 KiB.
  await batch([
    `-n ${router} link set up0 gso_max_segs 1`,
    `-n ${registry.name} link set eth0 gso_max_segs 1`,
  ]);
  if (init.uplinkMbit !== undefined) {
    await shape(router, "up0", init.uplinkMbit);
    await shape(registry.name, "eth0", init.uplinkMbit);
  }
  for (let i = 0; i < init.machines; i++) await addMachine();

  return {
    machines,
    registry,
    addMachine,
    async uplinkBytes() {
      const text = await run(["ip", "-n", router, "-s", "-j", "link", "show", "up0"]);
      const [link] = JSON.parse(text) as {
        stats64: { rx: { bytes: number }; tx: { bytes: number } };
      }[];
      return { in: link!.stats64.rx.bytes, out: link!.stats64.tx.bytes };
    },
    async [Symbol.asyncDispose]() {
      await removeAll();
    },
  };
}

let lanCount = 0;

function place(name: string, address: string): Place {
  return {
    name,
    address,
    within: (argv) => ["nsenter", `--net=/run/netns/${name}`, "--", ...argv],
  };
}

async function batch(commands: readonly string[]): Promise<void> {
  for (const command of commands) await run(["ip", ...command.split(" ")]);
}

async function shape(namespace: string, device: string, mbit: number): Promise<void> {
  const rule = `qdisc replace dev ${device} root tbf rate ${mbit}mbit burst 256kb latency 50ms`;
  await run(["tc", "-n", namespace, ...rule.split(" ")]);
}

async function nameServers(): Promise<string[]> {
  const text = await run(["cat", "/etc/resolv.conf"]);
  const servers = [...text.matchAll(/^nameserver\s+([0-9.]+)\s*$/gm)].map((match) => match[1]!);
  return [...new Set(servers)].filter((server) => !server.startsWith("127."));
}

/** Ends what dead runs have left: their processes, and their namespaces. */
async function removeLeftovers(): Promise<void> {
  const names = await readdir("/run/netns").catch(() => []);
  for (const name of names) {
    const owner = new RegExp(`^${PREFIX}([0-9]+)x`).exec(name)?.[1];
    if (owner === undefined || isAlive(Number(owner))) continue;
    // Another run may be at the same leftovers: what is gone already is no failure.
    const pids = await run(["ip", "netns", "pids", name]).catch(() => "");
    for (const pid of pids.split(/\s+/).filter((word) => word !== "")) kill(Number(pid));
    await run(["ip", "netns", "del", name]).catch(() => undefined);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
