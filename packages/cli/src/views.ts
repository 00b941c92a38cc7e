import {
  formatRate,
  type Image,
  type Limits,
  type PeerList,
  type Pull,
  type Status,
} from "@shoal/api";
import { cut, formatAge, formatBytes, formatShare, shortDigest, table } from "./format.ts";
import { bytesOf } from "./pull-view.ts";
import { plain } from "./text.ts";

function mirrorUrl(address: string): string {
  return /^https?:/.test(address) ? address : `http://${address}`;
}

/** Cells for a terminal, whatever other machines put into them. */
function safeTable(rows: readonly (readonly string[])[], columns: number): string[] {
  return table(
    rows.map((row) => row.map(plain)),
    columns,
  );
}

export function statusLines(status: Status, columns: number, nowMs: number): string[] {
  const { traffic, store } = status;
  const received = traffic.fromUpstreamBytes + traffic.fromPeersBytes;
  const rows = [
    ["version", `${status.version}, started ${formatAge(status.startedAt, nowMs)}`],
    ["peer id", status.peerId],
    ["mirror", status.mirror.map(mirrorUrl).join(", ")],
    ["swarm", status.swarm.join(", ") || "off: no site token; run `shoal token` or `shoal join`"],
    ["peers", `${status.peersUp} up, mDNS ${status.mdns}`],
    [
      "store",
      `${store.blobs} blobs, ${formatBytes(store.blobBytes)}; ${formatBytes(store.freeBytes)} free in ${status.stateFolder}`,
    ],
    [
      "arriving",
      `${status.transfers} blobs, ${formatBytes(store.ingestBytes)} of unfinished ones kept`,
    ],
    [
      "received",
      `${formatBytes(received)}: ${formatShare(traffic.fromPeersBytes, received)} from peers, ${formatShare(traffic.fromUpstreamBytes, received)} from registries`,
    ],
    [
      "given",
      `${formatBytes(traffic.toPeersBytes)} to peers, ${formatBytes(traffic.toClientsBytes)} to engines`,
    ],
    ...status.registries.map(({ registry, backOffUntil, lastErrorCode }) => [
      registry,
      [
        lastErrorCode === undefined ? "well" : `last failed with ${lastErrorCode}`,
        backOffUntil === undefined ? "" : `asked again at ${backOffUntil}`,
      ]
        .filter((part) => part !== "")
        .join(", "),
    ]),
  ];
  return safeTable(rows, columns);
}

export function peerLines({ self, peers }: PeerList, columns: number, nowMs: number): string[] {
  if (peers.length === 0)
    return ["no peers yet: run `shoal token` here and `shoal join` on another machine"];
  const rows = peers.map(({ id, state, addresses, source, lastSeenAt, strikes }) => [
    state,
    id,
    addresses[0] ?? "?",
    source,
    state === "up" || lastSeenAt === undefined ? "" : formatAge(lastSeenAt, nowMs),
    strikes === 0 ? "" : `${strikes} strikes: gave wrong bytes`,
  ]);
  const head = ["STATE", "PEER", "ADDRESS", "FOUND BY", "LAST SEEN", ""];
  return [...safeTable([head, ...rows], columns), cut(plain(`this machine is ${self}`), columns)];
}

export function limitLines(limits: Limits, columns: number, nowMs: number): string[] {
  const rate = (bytesPerSecond: number | undefined): string =>
    bytesPerSecond === undefined ? "none" : formatRate(bytesPerSecond);
  const { set } = limits;
  const rows = [
    ["uplink", rate(limits.uplinkBytesPerSecond), "from registries, the whole site"],
    [
      "connections",
      limits.uplinkConnections === undefined ? "none" : String(limits.uplinkConnections),
      "requests to one registry at a time, the whole site",
    ],
    ["lan-upload", rate(limits.lanUploadBytesPerSecond), "to members, this machine"],
  ];
  const origin =
    set === undefined
      ? "the site's limits are those of its members' configuration"
      : `the site's limits were set ${formatAge(set.at, nowMs)} by ${set.by}`;
  return [...safeTable([["LIMIT", "IS", "FOR"], ...rows], columns), cut(plain(origin), columns)];
}

export function imageLines(images: readonly Image[], columns: number): string[] {
  if (images.length === 0)
    return ["no images yet: run `shoal pull alpine`, or pull through the mirror"];
  const rows = images.map(({ name, digest, sizeBytes, complete }) => [
    shortDigest(digest),
    formatBytes(sizeBytes),
    complete ? "complete" : "partly here",
    name,
  ]);
  return safeTable([["DIGEST", "SIZE", "", "NAME"], ...rows], columns);
}

export function pullListLines(pulls: readonly Pull[], columns: number, nowMs: number): string[] {
  if (pulls.length === 0) return ["no pulls yet: run `shoal pull alpine`"];
  const rows = pulls.map((pull) => {
    const { arrived, size } = bytesOf(pull.layers);
    return [
      pull.id,
      pull.state,
      formatShare(arrived, size),
      formatAge(pull.startedAt, nowMs),
      pull.reference,
    ];
  });
  return safeTable([["ID", "STATE", "DONE", "BEGUN", "REFERENCE"], ...rows], columns);
}
