import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { LabDaemon } from "../lab/daemon.ts";
import { createImage, imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import type { Place } from "../lab/lan.ts";
import { until } from "../lab/processes.ts";
import { run } from "../lab/run.ts";
import { createSite, MIB, type Site } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "iptables", "docker-registry", "skopeo"]);

describe.skipIf(skipped !== undefined)("members whose machines have", () => {
  let site: Site;
  let places: readonly Place[];
  const images = Array.from({ length: 6 }, () => createImage([2048, 4 * MIB]));

  beforeAll(async () => {
    site = await createSite({ machines: 4 });
    places = site.lan.machines;
    for (const [i, image] of images.entries()) await site.push("app", `v${i}`, image);
  }, 60_000);
  // Each test finds the machines as they were, whatever became of the one before.
  beforeEach(async () => {
    for (const place of places)
      await inside(
        place,
        "ip link set eth0 up",
        "ip -4 addr flush dev eth0",
        `ip addr add ${place.address}/24 dev eth0`,
        "ip route replace default via 10.77.0.1",
      );
  });
  afterAll(async () => await site[Symbol.asyncDispose]());

  async function inside(place: Place, ...commands: readonly string[]): Promise<void> {
    for (const command of commands) await run(place.within(command.split(" ")));
  }

  async function pull(daemon: LabDaemon, number: number): Promise<void> {
    const reference = `${site.registry.host}/app:v${number}`;
    const { id } = await daemon.api.startPull({ reference });
    for await (const { ...event } of daemon.api.events({ pull: id }))
      if (event.type === "pull" && event.pull.finishedAt !== undefined) {
        expect(event.pull.state).toBe("done");
        return;
      }
  }

  /** With no way to the registry. */
  async function pullFromMember(place: Place, daemon: LabDaemon, number: number): Promise<void> {
    const registry = `unreachable ${site.lan.registry.address}`;
    await inside(place, `ip route add ${registry}`);
    try {
      const before = (await daemon.status()).traffic;
      await pull(daemon, number);
      const { traffic } = await daemon.status();
      const bytes = imageBytes(images[number]!);
      expect(traffic.fromPeersBytes - before.fromPeersBytes).toBeGreaterThan(bytes * 0.9);
      expect(traffic.fromUpstreamBytes).toBe(before.fromUpstreamBytes);
    } finally {
      await inside(place, `ip route del ${registry}`);
    }
  }

  async function peersOf(daemon: LabDaemon): Promise<readonly string[]> {
    const { peers } = await daemon.api.peers();
    return peers.filter(({ state }) => state === "up").flatMap(({ addresses }) => addresses);
  }

  it("two LANs and container bridges: each LAN is announced and listened on, the bridges are not", {
    timeout: 120_000,
  }, async () => {
    const [one, both, two] = places as [Place, Place, Place];
    // A second LAN, of two of them, on which one has no part; and one has nothing but this one.
    const { name: router } = site.lan.router;
    await run(["ip", "-n", router, "link", "add", "lan1", "type", "bridge"]);
    await run(["ip", "-n", router, "link", "set", "lan1", "up"]);
    for (const [place, port, address] of [
      [both, "q12", "10.79.0.12/24"],
      [two, "q13", "10.79.0.13/24"],
    ] as const) {
      const veth = `link add ${port} type veth peer name eth1 netns ${place.name}`.split(" ");
      await run(["ip", "-n", router, ...veth]);
      await run(["ip", "-n", router, "link", "set", port, "master", "lan1", "up"]);
      await inside(place, `ip addr add ${address} dev eth1`, "ip link set eth1 up");
    }
    // Other machines have the same addresses on theirs: to be told of them would mislead.
    for (const place of [one, both, two])
      await inside(
        place,
        "ip link add docker0 type bridge",
        "ip addr add 172.17.0.1/16 dev docker0",
        "ip link set docker0 up",
        "ip link add br-0123456789ab type bridge",
        "ip addr add 172.18.0.1/16 dev br-0123456789ab",
        "ip link set br-0123456789ab up",
      );
    await inside(two, "ip link set eth0 down");
    await using first = await site.daemon(one);
    await using middle = await site.daemon(both);
    await using second = await site.daemon(two);
    await middle.peersUp(2);
    const { swarm } = await middle.status();
    expect(swarm).toEqual(expect.arrayContaining(["10.77.0.12:5056", "10.79.0.12:5056"]));
    expect(swarm.filter((address) => address.startsWith("172."))).toEqual([]);
    expect(await peersOf(first)).toContain("10.77.0.12:5056");
    expect(await peersOf(second)).toContain("10.79.0.12:5056");
    for (const daemon of [first, middle, second])
      expect((await peersOf(daemon)).filter((address) => address.startsWith("172."))).toEqual([]);
    await pull(middle, 0);
    await pullFromMember(one, first, 0);
    await pullFromMember(two, second, 0);
  });

  it("IPv6 alone, with no more than link-local addresses, or both", {
    timeout: 120_000,
  }, async () => {
    const [six, seven, dual] = places as [Place, Place, Place];
    for (const place of [six, seven]) await inside(place, "ip -4 addr flush dev eth0");
    // These two have no way to the registry: what they pull comes from the third.
    await using third = await site.daemon(dual);
    await pull(third, 1);
    await using first = await site.daemon(six);
    await using second = await site.daemon(seven);
    for (const daemon of [first, second, third]) await daemon.peersUp(2);
    const { swarm } = await first.status();
    expect(swarm).toEqual([expect.stringMatching(/^\[fe80::[0-9a-f:]+%eth0\]:5056$/)]);
    await pullFromMember(six, first, 1);
    await pullFromMember(seven, second, 1);
    const bulk = (await first.api.peers()).peers.map(({ bulkPort }) => bulkPort);
    expect(bulk).toContain(5058);
  });

  it("an address that changes, a link that is down for a time, and sleep", {
    timeout: 120_000,
  }, async () => {
    const [still, moving, unplugged, sleeping] = places as [Place, Place, Place, Place];
    await using one = await site.daemon(still);
    await using mover = await site.daemon(moving);
    await using unlinked = await site.daemon(unplugged);
    await using sleeper = await site.daemon(sleeping);
    const others = { mover, unlinked, sleeper };
    for (const daemon of [one, ...Object.values(others)]) await daemon.peersUp(3);

    process.kill(sleeper.pid, "SIGSTOP");
    await inside(unplugged, "ip link set eth0 down");
    await inside(
      moving,
      "ip addr flush dev eth0",
      "ip addr add 10.77.0.99/24 dev eth0",
      "ip route replace default via 10.77.0.1",
    );
    // Members that are silent for three beats are down.
    const changedMs = performance.now();
    await until("all are missed", async () => (await one.status()).peersUp === 0, 30_000);
    await inside(unplugged, "ip link set eth0 up", "ip route replace default via 10.77.0.1");
    process.kill(sleeper.pid, "SIGCONT");
    const backMs = performance.now();
    await Promise.all(
      Object.entries(others).map(async ([name, daemon]) => {
        const isBack = async (): Promise<boolean> => (await daemon.status()).peersUp === 3;
        await until(`${name} is back`, isBack, 20_000);
        console.log(`${name} met all others ${Math.round(performance.now() - backMs)} ms later`);
      }),
    );
    await one.peersUp(3);
    console.log(`they were missed after ${Math.round(backMs - changedMs)} ms`);
    await until(
      "the new address is known",
      async () => (await peersOf(one)).includes("10.77.0.99:5056"),
      20_000,
    );
    await pull(one, 2);
    await pullFromMember(moving, mover, 2);
    await pullFromMember(sleeping, sleeper, 2);
  });

  it("a cloned disk: an identity each, or it is told that they share one", {
    timeout: 120_000,
  }, async () => {
    const [first, second, third] = places as [Place, Place, Place];
    const state = join(site.folder, "original");
    await using original = await site.daemon(first, { state });
    const { peerId } = await original.status();
    await original.stop();
    const [clone, other] = ["clone", "other"].map((name) => join(site.folder, name)) as [
      string,
      string,
    ];
    for (const copy of [clone, other]) await run(["cp", "-a", state, copy]);
    const machineId = join(site.folder, "machine-id");
    await writeFile(machineId, "0123456789abcdef0123456789abcdef\n");
    const setting = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/machine-id; exec "$@"'];
    const elsewhere = {
      ...third,
      within: (argv: readonly string[]) => third.within([...setting, machineId, ...argv]),
    };
    await original.restart();
    await using own = await site.daemon(elsewhere, { state: other });
    await original.peersUp(1);
    expect((await own.status()).peerId).not.toBe(peerId);
    expect(await original.status()).not.toHaveProperty("twin");
    await using twin = await site.daemon(second, { state: clone });
    expect((await twin.status()).peerId).toBe(peerId);
    for (const [daemon, address] of [
      [original, second.address],
      [twin, first.address],
    ] as const) {
      await until("it is told", async () => (await daemon.status()).twin !== undefined, 30_000);
      expect((await daemon.status()).twin?.address).toContain(address);
      const lines = await daemon.logs();
      const told = lines.filter(({ msg }) => msg.includes("has this machine's identity"));
      expect(told).toEqual([expect.objectContaining({ level: "error" })]);
    }
    await pull(own, 4);
    await pull(twin, 4);
    await pull(original, 4);
  });

  it("no multicast between them, but a name that comes to stand for all of them", {
    timeout: 120_000,
  }, async () => {
    const three = places.slice(0, 3);
    const hosts = join(site.folder, "hosts");
    await writeFile(hosts, "127.0.0.1 localhost\n");
    const daemons = await Promise.all(
      three.map(async (place) => {
        await inside(
          place,
          "iptables -A OUTPUT -d 224.0.0.0/4 -j DROP",
          "ip6tables -A OUTPUT -d ff02::fb -j DROP",
        );
        const named = [
          "unshare",
          "-m",
          "sh",
          "-c",
          'mount --bind "$0" /etc/hosts; exec "$@"',
          hosts,
        ];
        return await site.daemon(
          { ...place, within: (argv) => place.within([...named, ...argv]) },
          { extra: 'swarm: { peers: ["members.site"] }' },
        );
      }),
    );
    expect(await Promise.all(daemons.map(async (each) => (await each.status()).peersUp))).toEqual([
      0, 0, 0,
    ]);
    // In place: what is bound is the file, not its name.
    await writeFile(hosts, three.map(({ address }) => `${address} members.site\n`).join(""));
    for (const daemon of daemons) await daemon.peersUp(2);
    expect((await daemons[0]!.status()).peersUp).toBe(2);
    await pull(daemons[0]!, 3);
    await pullFromMember(three[1]!, daemons[1]!, 3);
  });
});
