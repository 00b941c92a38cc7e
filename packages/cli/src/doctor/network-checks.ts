import type { Peer, PeerList, Status } from "@shoal/api";
import { formatCount } from "../format.ts";
import { type Check, failed, ok, skipped, warning } from "./check.ts";
import type { PortProbes } from "./port-probes.ts";

/** Members that are dialled: a look at the network, not a load on it. */
const MAX_MEMBERS = 8;

/** Whether this machine is in a site, hears others, and can be heard. */
export async function checkNetwork(
  status: Status,
  { peers }: PeerList,
  probes: PortProbes,
): Promise<readonly Check[]> {
  if (status.site === undefined)
    return [
      warning(
        "site",
        "none: this machine shares with nobody",
        "shoal token | ssh other shoal join",
      ),
      skipped("multicast", "without a site nobody is looked for"),
      skipped("ports", "without a site no port is open to others"),
    ];
  const up = peers.filter(({ state }) => state === "up");
  return [
    members(status, up),
    ...identity(status),
    multicast(status, up),
    await ownPorts(status, probes),
    ...(up.length === 0 ? [] : [await memberPorts(up.slice(0, MAX_MEMBERS), probes)]),
  ];
}

function members({ site }: Status, up: readonly Peer[]): Check {
  const name = site!.slice(0, 8);
  if (up.length > 0) return ok("site", `${name}, ${formatCount(up.length, "other member")} up`);
  return warning(
    "site",
    `${name}, and no other member is up`,
    "see that others run, and hold the same token: `shoal status` there tells the same site",
  );
}

function identity({ twin, stateFolder }: Status): readonly Check[] {
  if (twin === undefined) return [];
  return [
    failed(
      "identity",
      `${twin.address} has this machine's identity too, as a cloned disk has: to the others they are one member that contradicts itself`,
      `on one of the two stop Shoal, remove ${stateFolder}/identity.json, give it a machine id of its own (rm /etc/machine-id; systemd-machine-id-setup), and start Shoal`,
    ),
  ];
}

function multicast({ mdns }: Status, up: readonly Peer[]): Check {
  const byName = 'name a member in swarm.peers of the configuration, as in ["10.0.0.7:5056"]';
  switch (mdns) {
    case "failing":
      return failed(
        "multicast",
        "multicast DNS can't be sent or heard here",
        `free UDP port 5353 and see to a route for 224.0.0.0/4, or ${byName}`,
      );
    case "off":
      return up.length > 0
        ? ok("multicast", "off, and members are found without it")
        : warning("multicast", "off, and no member is up", `turn swarm.mdns on, or ${byName}`);
    case "on":
      if (up.some(({ source }) => source === "mdns"))
        return ok("multicast", "passes: members were found by it");
      return warning(
        "multicast",
        up.length > 0 ? "on, but members were found in other ways" : "on, but nobody was heard",
        `let UDP port 5353 to 224.0.0.251 pass between the machines, or ${byName}`,
      );
  }
}

async function ownPorts({ swarm, bulkPort }: Status, probes: PortProbes): Promise<Check> {
  const addresses = swarm.flatMap((address) => parseAddress(address) ?? []);
  const own = addresses.find(({ host }) => !host.startsWith("127.") && host !== "::1");
  const [first = own] = own === undefined ? addresses : [own];
  if (first === undefined)
    return failed("ports", "no port is open to members", "see the daemon's log, and swarm.port");
  const { host, port } = first;
  const answer = await probes.swarm(host, port);
  if (answer === "closed")
    return failed(
      "ports",
      `${host} does not answer at ${port}`,
      `let TCP port ${port} in, in this machine's firewall`,
    );
  if (answer === "other")
    return failed(
      "ports",
      `what answers at ${host}, port ${port}, does not speak as Shoal does`,
      `see who has the port: ss -ltnp 'sport = :${port}'; set swarm.port to a free one, or take this machine's own addresses out of the proxy`,
    );
  const slow = "without it the bytes of images take twice the processor time";
  if (bulkPort === undefined)
    return warning(
      "ports",
      `${port} answers, and there is no port for the bytes of images`,
      `see the daemon's log, and swarm.bulkPort: ${slow}`,
    );
  const bulk = await probes.bulk(host, bulkPort);
  if (bulk !== "shoal")
    return warning(
      "ports",
      bulk === "closed"
        ? `${port} answers, ${bulkPort} does not`
        : `${port} answers, and what answers at ${bulkPort} does not speak as Shoal does`,
      `let TCP port ${bulkPort} in: ${slow}`,
    );
  return ok("ports", `Shoal answers at ${host}, ports ${port} and ${bulkPort}`);
}

/** What others' firewalls let through from here; nothing tells what ours lets in from there. */
async function memberPorts(up: readonly Peer[], probes: PortProbes): Promise<Check> {
  const outcomes = await Promise.all(
    up.map(async ({ addresses, bulkPort }) => {
      const known = addresses.flatMap((address) => parseAddress(address) ?? []);
      const answers = await Promise.all(
        known.map(async ({ host, port }) => await probes.swarm(host, port)),
      );
      const at = known[answers.indexOf("shoal")];
      const bulk =
        at === undefined || bulkPort === undefined
          ? undefined
          : await probes.bulk(at.host, bulkPort);
      const isOther = at === undefined && answers.includes("other");
      return { name: at ?? known[0], isReached: at !== undefined, isOther, bulk, bulkPort };
    }),
  );
  const named = (some: typeof outcomes): string =>
    some.map(({ name }) => (name === undefined ? "a member" : name.host)).join(", ");
  const others = outcomes.filter(({ isOther }) => isOther);
  if (others.length > 0)
    return warning(
      "members",
      `what answers at ${named(others)} does not speak as Shoal does`,
      "let TCP between the machines pass as it is: something on the way takes their connections",
    );
  const unreached = outcomes.filter(({ isReached }) => !isReached);
  if (unreached.length > 0)
    return warning(
      "members",
      `not reached from here: ${named(unreached)}`,
      `let TCP port ${unreached[0]!.name?.port ?? 5056} in, in their firewalls: one direction is enough to exchange, but not to recover`,
    );
  const withoutBulk = outcomes.filter(({ bulk }) => bulk === "closed" || bulk === "other");
  if (withoutBulk.length > 0)
    return warning(
      "members",
      `reached, but not at ${withoutBulk[0]!.bulkPort}: ${named(withoutBulk)}`,
      `let TCP port ${withoutBulk[0]!.bulkPort} in, in their firewalls`,
    );
  const isWhole = outcomes.every(({ bulk }) => bulk === "shoal");
  return ok(
    "members",
    `reached: ${named(outcomes)}${isWhole ? ", at both ports" : "; the second port shows once something was exchanged"}`,
  );
}

/** Of `/ip4/10.0.0.1/tcp/5056` and `10.0.0.1:5056`. */
export function parseAddress(text: string): { host: string; port: number } | undefined {
  const found =
    /^\/(?:ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/([0-9]+)/.exec(text) ??
    /^\[([^\]]+)\]:([0-9]+)$/.exec(text) ??
    /^([^:/]+):([0-9]+)$/.exec(text);
  return found === null ? undefined : { host: found[1]!, port: Number(found[2]) };
}
