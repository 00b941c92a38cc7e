import { connect } from "node:net";
import type { Peer, PeerList, Status } from "@shoal/api";
import { formatCount } from "../format.ts";
import { type Check, failed, ok, skipped, warning } from "./check.ts";

const CONNECT_MS = 2000;
/** `swarm.bulkPort`, unless it is configured. */
const BULK_PORT = 5058;
/** Members that are dialled: a look at the network, not a load on it. */
const MAX_MEMBERS = 8;

/** Opens and closes a TCP connection. */
export type Probe = (host: string, port: number) => Promise<boolean>;

export const tcpProbe: Probe = async (host, port) =>
  await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_MS });
    const end = (answers: boolean) => (): void => {
      socket.destroy();
      resolve(answers);
    };
    socket.on("connect", end(true)).on("timeout", end(false)).on("error", end(false));
  });

/** Whether this machine is in a site, hears others, and can be heard. */
export async function checkNetwork(
  status: Status,
  { peers }: PeerList,
  probe: Probe,
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
    multicast(status, up),
    await ownPorts(status, probe),
    ...(up.length === 0 ? [] : [await memberPorts(up.slice(0, MAX_MEMBERS), probe)]),
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

async function ownPorts({ swarm }: Status, probe: Probe): Promise<Check> {
  const addresses = swarm.flatMap((address) => parseAddress(address) ?? []);
  const own = addresses.find(({ host }) => !host.startsWith("127.") && host !== "::1");
  const [first = own] = own === undefined ? addresses : [own];
  if (first === undefined)
    return failed("ports", "no port is open to members", "see the daemon's log, and swarm.port");
  if (!(await probe(first.host, first.port)))
    return failed(
      "ports",
      `${first.host} does not answer at ${first.port}`,
      `let TCP port ${first.port} in, in this machine's firewall`,
    );
  if (!(await probe(first.host, BULK_PORT)))
    return warning(
      "ports",
      `${first.port} answers, ${BULK_PORT} does not`,
      `let TCP port ${BULK_PORT} in, unless swarm.bulkPort is another: without it the bytes of images take twice the processor time`,
    );
  return ok("ports", `${first.port} and ${BULK_PORT} answer at ${first.host}`);
}

/** What others' firewalls let through from here; nothing tells what ours lets in from there. */
async function memberPorts(up: readonly Peer[], probe: Probe): Promise<Check> {
  const outcomes = await Promise.all(
    up.map(async ({ addresses }) => {
      const known = addresses.flatMap((address) => parseAddress(address) ?? []);
      const answers = await Promise.all(
        known.map(async ({ host, port }) => await probe(host, port)),
      );
      const at = known[answers.indexOf(true)];
      const hasBulk = at !== undefined && (await probe(at.host, BULK_PORT));
      return { name: at ?? known[0], isReached: at !== undefined, hasBulk };
    }),
  );
  const named = (some: typeof outcomes): string =>
    some.map(({ name }) => (name === undefined ? "a member" : name.host)).join(", ");
  const unreached = outcomes.filter(({ isReached }) => !isReached);
  if (unreached.length > 0)
    return warning(
      "members",
      `not reached from here: ${named(unreached)}`,
      "let TCP port 5056 in, in their firewalls: one direction is enough to exchange, but not to recover",
    );
  const withoutBulk = outcomes.filter(({ hasBulk }) => !hasBulk);
  if (withoutBulk.length > 0)
    return warning(
      "members",
      `reached, but not at ${BULK_PORT}: ${named(withoutBulk)}`,
      `let TCP port ${BULK_PORT} in, in their firewalls, unless swarm.bulkPort is another there`,
    );
  return ok("members", `reached at both ports: ${named(outcomes)}`);
}

/** Of `/ip4/10.0.0.1/tcp/5056` and `10.0.0.1:5056`. */
export function parseAddress(text: string): { host: string; port: number } | undefined {
  const found =
    /^\/(?:ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/([0-9]+)/.exec(text) ??
    /^\[([^\]]+)\]:([0-9]+)$/.exec(text) ??
    /^([^:/]+):([0-9]+)$/.exec(text);
  return found === null ? undefined : { host: found[1]!, port: Number(found[2]) };
}
