import {
  formatRate,
  type Image,
  type JoinOutcome,
  type Limits,
  type PeerList,
  type Pull,
  type Status,
} from "@shoal/api";
import {
  cut,
  formatAge,
  formatBytes,
  formatDuration,
  formatCount,
  formatShare,
  shortDigest,
  table,
  wrap,
  wrapBeside,
} from "./format.ts";
import { bytesOf } from "./pull-view.ts";
import { plain } from "./text.ts";

function mirrorUrl(address: string): string {
  return /^https?:/.test(address) ? address : `http://${address}`;
}

/** Names of sites, pulls and machines are told apart by so many characters. */
const SHORT_ID = 8;
/** Blobs that are named of those that a member is wrong about: two are enough for a ban. */
const SHOWN_BLOBS = 2;
/** Columns that a value beside its label needs. */
const MIN_VALUE = 24;

/** Cells for a terminal, whatever other machines put into them. */
function safeTable(
  rows: readonly (readonly string[])[],
  columns: number,
  dispensable: readonly number[] = [],
): string[] {
  return table(
    rows.map((row) => row.map(plain)),
    columns,
    dispensable,
  );
}

/** Labels and values, these wrapped beside them, or below where there is too little room. */
function labelled(rows: readonly (readonly [string, string])[], columns: number): string[] {
  const margin = Math.max(...rows.map(([label]) => label.length)) + 2;
  const isNarrow = columns - margin < MIN_VALUE;
  return rows.flatMap(([label, value]) => {
    const name = cut(plain(label), columns);
    if (isNarrow) return [name, ...wrapBeside(plain(value), columns, 2)];
    const [first, ...more] = wrapBeside(plain(value), columns, margin);
    return [name.padEnd(margin) + first!.slice(margin), ...more];
  });
}

const STORE_STATES: Readonly<Record<NonNullable<Status["store"]["state"]>, string>> = {
  ok: "ok",
  full: "! full, new blobs pass through",
  readOnly: "! read-only, new blobs pass through",
  failing: "! failing, new blobs pass through",
};

export function statusLines(status: Status, columns: number, nowMs: number): string[] {
  const { traffic, store } = status;
  const received = traffic.fromUpstreamBytes + traffic.fromPeersBytes;
  const rows: (readonly [string, string])[] = [
    ["version", `${status.version}, started ${formatAge(status.startedAt, nowMs)}`],
    ["peer id", status.peerId],
    ...(status.twin === undefined
      ? []
      : [["", `! ${status.twin.address} has it too; see \`shoal doctor\``] as const]),
    ["mirror", status.mirror.map(mirrorUrl).join(", ")],
    ["site", status.site?.slice(0, SHORT_ID) ?? "none: this machine shares with nobody"],
    ...(status.certificate === undefined
      ? []
      : [["member", certificateText(status.certificate)] as const]),
    ["swarm", status.swarm.join(", ") || "off: no site token; run `shoal token` or `shoal join`"],
    ["peers", `${status.peersUp} up, mDNS ${status.mdns}`],
    [
      "store",
      `${formatCount(store.blobs, "blob")}, ${formatBytes(store.blobBytes)}${store.capacityBytes === undefined ? "" : ` of ${formatBytes(store.capacityBytes)}`}; ${formatBytes(store.freeBytes)} free in ${status.stateFolder}`,
    ],
    ...(store.why === undefined
      ? []
      : [["", `${STORE_STATES[store.state ?? "ok"]}: ${store.why}`] as const]),
    [
      "arriving",
      `${formatCount(status.transfers, "blob")}, ${formatBytes(store.ingestBytes)} of unfinished ones kept`,
    ],
    [
      "received",
      `${formatBytes(received)}: ${formatShare(traffic.fromPeersBytes, received)} from peers, ${formatShare(traffic.fromUpstreamBytes, received)} from registries`,
    ],
    [
      "given",
      `${formatBytes(traffic.toPeersBytes)} to peers, ${formatBytes(traffic.toClientsBytes)} to engines`,
    ],
    ...enginesRow(status, nowMs),
    ...auditRow(status),
    ...status.registries.map(
      ({ registry, backOffUntil, lastErrorCode, pullLimit }) =>
        [
          registry,
          [
            lastErrorCode === undefined ? "well" : `last failed with ${lastErrorCode}`,
            backOffUntil === undefined ? "" : `asked again at ${backOffUntil}`,
            pullLimit === undefined
              ? ""
              : `${pullLimit.remaining} of ${pullLimit.limit} pulls left${pullLimit.windowSeconds === undefined ? "" : ` in ${formatDuration(pullLimit.windowSeconds * 1000)}`}`,
          ]
            .filter((part) => part !== "")
            .join(", "),
        ] as const,
    ),
  ];
  return labelled(rows, columns);
}

function auditRow({ audit }: Status): [string, string][] {
  if (audit === undefined) return [];
  const { state, seq = 0, folder = "", dropped = 0 } = audit;
  const lost = dropped === 0 ? "" : `; ${formatCount(dropped, "record")} could not be kept`;
  const text =
    state === "off"
      ? "off"
      : state === "on"
        ? `${formatCount(seq, "record")} in ${folder}${lost}`
        : `can't be written to ${folder}: look at its disk${lost}`;
  return [["audit log", text]];
}

/** Who has asked the mirror and when, the latest first. */
function enginesRow({ clients }: Status, nowMs: number): [string, string][] {
  if (clients === undefined) return [];
  const asked = clients
    .toSorted((a, b) => Date.parse(b.lastSeenAt) - Date.parse(a.lastSeenAt))
    .map(({ engine, lastSeenAt }) => `${engine} ${formatAge(lastSeenAt, nowMs)}`);
  return [["engines", asked.join(", ") || "none has asked yet; run `shoal doctor`"]];
}

function certificateText({ name, roles, notAfter }: NonNullable<Status["certificate"]>): string {
  return `${name} (${roles.join(", ")}), certificate until ${notAfter.slice(0, 16).replace("T", " ")}`;
}

export function peerLines(
  { self, zone, peers }: PeerList,
  columns: number,
  nowMs: number,
): string[] {
  if (peers.length === 0)
    return ["no peers yet: run `shoal token` here and `shoal join` on another machine"];
  const zoned = zone !== undefined || peers.some((peer) => peer.zone !== undefined);
  const named = peers.some((peer) => peer.name !== undefined);
  const rows = (whole: boolean): string[][] =>
    peers.map(({ id, state, addresses, source, lastSeenAt, name, zone: label }) => [
      state,
      ...(named ? [name ?? ""] : []),
      // Peer ids begin alike, and differ at their ends.
      whole ? id : id.slice(-SHORT_ID),
      ...(zoned ? [label ?? ""] : []),
      addresses[0] ?? "?",
      source,
      state === "up" || lastSeenAt === undefined ? "" : formatAge(lastSeenAt, nowMs),
    ]);
  const head = [
    "STATE",
    ...(named ? ["NAME"] : []),
    "PEER",
    ...(zoned ? ["ZONE"] : []),
    "ADDRESS",
    "FOUND BY",
    "LAST SEEN",
  ];
  const whole = safeTable([head, ...rows(true)], Number.POSITIVE_INFINITY);
  const lines = whole.every((line) => line.length <= columns)
    ? whole
    : safeTable([head, ...rows(false)], columns, [head.length - 2, head.length - 1]);
  const notes = peers.map((peer) => {
    const text = conductText(peer);
    return text === undefined ? [] : note(text, columns);
  });
  return [
    lines[0]!,
    ...peers.flatMap((_, index) => [lines[index + 1]!, ...notes[index]!]),
    ...wrap(
      plain(`this machine is ${self}${zone === undefined ? "" : ` in zone ${zone}`}`),
      columns,
    ),
  ];
}

/** What belongs to the line above. */
function note(text: string, columns: number): string[] {
  return wrapBeside(plain(text), columns, 2);
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
  return [
    ...safeTable([["LIMIT", "IS", "FOR"], ...rows], columns),
    ...wrap(plain(origin), columns),
  ];
}

function conductText(peer: PeerList["peers"][number]): string | undefined {
  const { strikes, bannedUntil, falseBlobs = [] } = peer;
  if (strikes === 0 && bannedUntil === undefined) return undefined;
  const blobs = falseBlobs
    .slice(-SHOWN_BLOBS)
    .map(({ digest, registry }) => `${shortDigest(digest)} of ${registry}`);
  const more = falseBlobs.length - blobs.length;
  return [
    `${formatCount(strikes, "strike")}: gave wrong bytes`,
    ...(blobs.length === 0 ? [] : [`vouched falsely for ${blobs.join(", ")}`]),
    ...(more > 0 ? [`and for ${formatCount(more, "other blob")}`] : []),
    ...(bannedUntil === undefined ? [] : [`banned until ${bannedUntil}`]),
  ].join("; ");
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
  return safeTable([["DIGEST", "SIZE", "", "NAME"], ...rows], columns, [0, 1]);
}

/** What `shoal join` has changed. */
export function joinLines({ outcome, site, left, name: own }: JoinOutcome): string[] {
  const name = site.slice(0, SHORT_ID);
  if (outcome === "already-member") return [`already in site ${name}: nothing has changed`];
  const called = own === undefined ? "" : ` as ${plain(own)}`;
  const moved = left === undefined ? "" : `, and left site ${left.slice(0, SHORT_ID)}`;
  return [
    `joined site ${name}${called}${moved}: other members show up in \`shoal peers\` within seconds`,
  ];
}

export function pullListLines(pulls: readonly Pull[], columns: number, nowMs: number): string[] {
  if (pulls.length === 0) return ["no pulls yet: run `shoal pull alpine`"];
  const rows = pulls.map((pull) => {
    const { arrived, size } = bytesOf(pull.layers);
    return [
      pull.id.slice(0, SHORT_ID),
      pull.state,
      formatShare(arrived, size),
      formatAge(pull.startedAt, nowMs),
      pull.reference,
    ];
  });
  const head = ["ID", "STATE", "DONE", "BEGUN", "REFERENCE"];
  const [first, ...lines] = safeTable([head, ...rows], columns, [3, 2]);
  const reason = ({ error }: Pull): string[] =>
    error === undefined ? [] : note(`${error.code}: ${error.message}`, columns);
  return [first!, ...pulls.flatMap((pull, index) => [lines[index]!, ...reason(pull)])];
}
