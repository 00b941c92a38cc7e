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

/** What a link has carried on the wire, as the kernel counts it. */
export interface LinkBytes {
  /** Into the site, the rack or the machine, and out of it. */
  readonly in: number;
  readonly out: number;
  readonly packetsOut: number;
}

export interface LanInit {
  readonly machines: number;
  /** Rate of the way to the registry, each way. @default unlimited */
  readonly uplinkMbit?: number;
  /** Rate of each machine's link, each way. @default unlimited */
  readonly lanMbit?: number;
  /** The machines stand in so many racks, in order, each behind a link of its own. @default none: one bridge */
  readonly racks?: number;
  /** Rate of each rack's link, each way. @default unlimited */
  readonly rackMbit?: number;
}

/**
 * A site in network namespaces: machines 10.77.0.11… on a bridge, and behind a routed uplink the registry's
 * place, 10.78.0.2, which hears no multicast. Disposing removes all of it.
 */
export interface Lan extends AsyncDisposable {
  readonly machines: readonly Place[];
  readonly registry: Place;
  /** Between the machines and the uplink: its way to the registry is the uplink alone. */
  readonly router: Place;
  addMachine(): Promise<Place>;
  /** The router's end of a machine's link. */
  portOf(machine: Place): string;
  /** Sets the uplink's rate, `undefined` for unlimited. */
  shapeUplink(mbit: number | undefined): Promise<void>;
  uplinkBytes(): Promise<LinkBytes>;
  machineBytes(machine: Place): Promise<LinkBytes>;
  rackBytes(rack: number): Promise<LinkBytes>;
}

const PREFIX = "shoal";
const COUNTING_QUEUE = "pfifo limit 10000";

/** Makes a site. Needs root, and iproute2. */
export async function createLan(init: LanInit): Promise<Lan> {
  await removeLeftovers();
  const tag = `${PREFIX}${process.pid}x${(lanCount++).toString(36)}`;
  const router = `${tag}-r`;
  const racks = init.racks ?? 0;
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

  function portOf(machine: Place): string {
    return `p${machine.address.split(".").at(-1)}`;
  }

  function rackOf(index: number): number {
    return Math.min(racks - 1, Math.floor((index * racks) / init.machines));
  }

  /** A bridge of its own, joined to the site's by a link that everything into the rack passes. */
  async function addRack(rack: number): Promise<void> {
    const [outer, inner] = [`k${rack}o`, `k${rack}i`];
    await batch([
      `-n ${router} link add rack${rack} type bridge`,
      `-n ${router} link set rack${rack} up`,
      `-n ${router} link add ${outer} type veth peer name ${inner}`,
      `-n ${router} link set ${outer} master lan0 up`,
      `-n ${router} link set ${inner} master rack${rack} up`,
    ]);
    await shape(router, outer, init.rackMbit ?? "counted");
    await shape(router, inner, init.rackMbit ?? "counted");
  }

  /**
   * What two shaped or counted devices, the ends of a link, have sent into the site and out of it. Their queues
   * count the headers of every frame that a line would carry; the devices count one header for up to 64 KiB.
   */
  async function sentBy(
    [inwards, inDevice]: readonly [namespace: string, device: string],
    [outwards, outDevice]: readonly [namespace: string, device: string],
  ): Promise<LinkBytes> {
    const into = await queueOf(inwards, inDevice);
    const out = await queueOf(outwards, outDevice);
    return { in: into.bytes, out: out.bytes, packetsOut: out.packets };
  }

  /** What a machine's link has carried, as its devices count it. */
  async function machineBytes(machine: Place): Promise<LinkBytes> {
    const text = await run(["ip", "-n", router, "-s", "-j", "link", "show", portOf(machine)]);
    const [link] = JSON.parse(text) as {
      stats64: Record<"rx" | "tx", { bytes: number; packets: number }>;
    }[];
    const { rx, tx } = link!.stats64;
    return { in: tx.bytes, out: rx.bytes, packetsOut: rx.packets };
  }

  async function shapeUplink(mbit: number | undefined): Promise<void> {
    await shape(router, "up0", mbit ?? "counted");
    await shape(registry.name, "eth0", mbit ?? "counted");
  }

  async function addMachine(): Promise<Place> {
    const number = machines.length + 11;
    const machine = place(`${tag}-m${number}`, `10.77.0.${number}`);
    machines.push(machine);
    const port = portOf(machine);
    const bridge = racks === 0 ? "lan0" : `rack${rackOf(machines.length - 1)}`;
    await batch([
      `netns add ${machine.name}`,
      `-n ${router} link add ${port} type veth peer name eth0 netns ${machine.name}`,
      `-n ${router} link set ${port} master ${bridge} up`,
      `-n ${machine.name} link set lo up`,
      `-n ${machine.name} addr add ${machine.address}/24 dev eth0`,
      `-n ${machine.name} link set eth0 up`,
      `-n ${machine.name} route add default via 10.77.0.1`,
      // A name server that does not answer costs some engines 10 s a pull; one that can't be reached, nothing.
      ...(await nameServers()).map(
        (server) => `-n ${machine.name} route add unreachable ${server}`,
      ),
    ]);
    await shape(router, port, init.lanMbit);
    await shape(machine.name, "eth0", init.lanMbit);
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
  await shapeUplink(init.uplinkMbit);
  for (let rack = 0; rack < racks; rack++) await addRack(rack);
  for (let i = 0; i < init.machines; i++) await addMachine();

  return {
    machines,
    registry,
    addMachine,
    router: place(router, "10.77.0.1"),
    portOf,
    shapeUplink,
    uplinkBytes: async () => await sentBy([registry.name, "eth0"], [router, "up0"]),
    machineBytes,
    rackBytes: async (rack) => await sentBy([router, `k${rack}o`], [router, `k${rack}i`]),
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

/** Gives a device's way out a rate; `counted`: none, but a queue that counts; `undefined`: nothing. */
async function shape(
  namespace: string,
  device: string,
  rate: number | "counted" | undefined,
): Promise<void> {
  if (rate === undefined) return;
  const kind =
    rate === "counted" ? COUNTING_QUEUE : `tbf rate ${rate}mbit burst 256kb latency 50ms`;
  const rule = `qdisc replace dev ${device} root ${kind}`;
  await run(["tc", "-n", namespace, ...rule.split(" ")]);
}

async function queueOf(
  namespace: string,
  device: string,
): Promise<{ readonly bytes: number; readonly packets: number }> {
  const show = ["tc", "-n", namespace, "-s", "-j", "qdisc", "show", "dev", device, "root"];
  const [queue] = JSON.parse(await run(show)) as { bytes: number; packets: number }[];
  return queue!;
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
