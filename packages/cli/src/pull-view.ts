import type { LayerProgress, Pull } from "@shoal/api";
import { BAR_PEERS, BAR_STORE, BAR_UPSTREAM, bar } from "./bar.ts";
import { cut, formatBytes, formatDuration, formatShare, shortDigest } from "./format.ts";
import { bytesPerSecond, type RateSample } from "./rate.ts";
import { pinned, plain } from "./text.ts";

const MIN_BAR = 8;
/** The reference, the legend and the total, beside the layers. */
const FRAME_LINES = 3;

/** Bytes of a pull by where they came from. */
export interface PullBytes {
  readonly size: number;
  readonly arrived: number;
  readonly upstream: number;
  readonly peers: number;
  readonly store: number;
}

export function bytesOf(layers: readonly LayerProgress[]): PullBytes {
  const sum = (pick: (layer: LayerProgress) => number): number =>
    layers.reduce((total, layer) => total + pick(layer), 0);
  return {
    size: sum((layer) => layer.sizeBytes),
    arrived: sum((layer) => layer.arrivedBytes),
    upstream: sum((layer) => layer.fromUpstreamBytes),
    peers: sum((layer) => layer.fromPeersBytes),
    store: sum((layer) => layer.fromStoreBytes),
  };
}

/** What is drawn of a pull. */
export interface PullView {
  readonly pull: Pull;
  /** What had been received when, for the rate. */
  readonly samples: readonly RateSample[];
}

/** Bytes that had to be received: what the store had says nothing of the rate. */
export function receivedBytes(pull: Pull): number {
  const { upstream, peers } = bytesOf(pull.layers);
  return upstream + peers;
}

/**
 * A pull as lines of a terminal: a bar for each layer, then the total. Never wider than `columns`
 * and, from six on, never more than `rows`: layers that are done or waiting give way first.
 */
export function pullLines(
  { pull, samples }: PullView,
  columns: number,
  nowMs: number,
  rows = Number.POSITIVE_INFINITY,
): string[] {
  const stale = pull.stale === true ? ", stale" : "";
  const lines = [plain(`${pull.reference} (${pull.platform})${stale}`)];
  if (pull.layers.length > 0) {
    lines.push(`${BAR_UPSTREAM} registry  ${BAR_PEERS} peers  ${BAR_STORE} was here`);
    const shown = visibleLayers(pull.layers, rows - FRAME_LINES);
    for (const layer of shown) lines.push(layerLine(layer, columns));
    const hidden = pull.layers.length - shown.length;
    if (hidden > 0) lines.push(`and ${hidden} more layers`);
  }
  if (pull.state === "resolving") lines.push("asking what the reference names …");
  else if (pull.layers.length > 0) lines.push(totalLine(pull, samples, columns, nowMs));
  return lines.map((line) => cut(line, columns));
}

function visibleLayers(layers: readonly LayerProgress[], room: number): readonly LayerProgress[] {
  if (layers.length <= room) return layers;
  const urgency = { failed: 0, fetching: 1, waiting: 2, done: 3 } as const;
  const chosen = new Set(
    layers.toSorted((a, b) => urgency[a.state] - urgency[b.state]).slice(0, Math.max(0, room - 1)),
  );
  return layers.filter((layer) => chosen.has(layer));
}

function layerLine(layer: LayerProgress, columns: number): string {
  const name = shortDigest(plain(layer.digest));
  const size = `${formatBytes(layer.arrivedBytes)}/${formatBytes(layer.sizeBytes)}`.padStart(19);
  const state = layer.state === "failed" ? " failed" : "";
  const room = Math.min(40, columns - name.length - size.length - state.length - 2);
  if (room >= MIN_BAR) return `${name} ${layerBar(layer, room)} ${size}${state}`;
  const share = formatShare(layer.arrivedBytes, layer.sizeBytes).padStart(5);
  const narrow = Math.min(20, columns - name.length - share.length - state.length - 2);
  if (narrow >= MIN_BAR) return `${name} ${layerBar(layer, narrow)} ${share}${state}`;
  return `${name} ${share}${state}`;
}

function layerBar(layer: LayerProgress, width: number): string {
  const sources = {
    upstreamBytes: layer.fromUpstreamBytes,
    peersBytes: layer.fromPeersBytes,
    storeBytes: layer.fromStoreBytes,
  };
  // An empty blob has a full bar only once it is there.
  if (layer.sizeBytes === 0) return bar(layer.state === "done" ? 1 : 0, 1, sources, width);
  return bar(layer.arrivedBytes, layer.sizeBytes, sources, width);
}

function totalLine(
  pull: Pull,
  samples: readonly RateSample[],
  columns: number,
  nowMs: number,
): string {
  const bytes = bytesOf(pull.layers);
  const received = bytes.upstream + bytes.peers;
  const total = `${formatBytes(bytes.arrived)} of ${formatBytes(bytes.size)}`;
  const elapsedMs = Math.max(1, nowMs - Date.parse(pull.startedAt));
  const rate = bytesPerSecond(samples) ?? (received / elapsedMs) * 1000;
  const parts = [total, `${formatBytes(rate)}/s`];
  const missing = bytes.size - bytes.arrived;
  if (pull.state === "fetching" && missing > 0 && rate > 0)
    parts.push(`${formatDuration((missing / rate) * 1000)} left`);
  if (received > 0) parts.push(`${formatShare(bytes.peers, received)} from peers`);
  let line = parts.join(", ");
  // The last part is worth the least: it goes before the line is cut in the middle of a number.
  while (line.length > columns && parts.length > 1) {
    parts.pop();
    line = parts.join(", ");
  }
  return line;
}

/** What a finished pull was, in one line. */
export function summary(pull: Pull): string {
  const bytes = bytesOf(pull.layers);
  const tookMs = Date.parse(pull.finishedAt ?? pull.startedAt) - Date.parse(pull.startedAt);
  const parts = [
    [bytes.peers, "from peers"],
    [bytes.upstream, "from the registry"],
    [bytes.store, "was here"],
  ] as const;
  const shares = parts
    .filter(([count]) => count > 0)
    .map(([count, where]) => `${formatShare(count, bytes.size)} ${where}`)
    .join(", ");
  const stale = pull.stale === true ? " (stale: the registry could not be asked)" : "";
  return `pulled ${pinned(pull.reference, pull.digest)}${stale}  ${formatBytes(bytes.size)}: ${shares || "nothing to fetch"}, in ${formatDuration(tookMs)}`;
}

/** A line for each layer that has ended since `before`, for pipes. */
export function newlyEnded(before: Pull | undefined, pull: Pull): string[] {
  const known = new Map(before?.layers.map((layer) => [layer.digest, layer.state]));
  return pull.layers
    .filter(
      ({ digest, state }) =>
        (state === "done" || state === "failed") && known.get(digest) !== state,
    )
    .map((layer) => {
      const { sizeBytes, state, digest } = layer;
      const origin = state === "done" ? `, ${originOf(layer)}` : "";
      return `${state} ${shortDigest(plain(digest))} ${formatBytes(sizeBytes)}${origin}`;
    });
}

function originOf({ sizeBytes, fromPeersBytes, fromStoreBytes }: LayerProgress): string {
  if (fromStoreBytes > 0 && fromStoreBytes >= sizeBytes) return "was here";
  const peers = `${formatShare(fromPeersBytes, sizeBytes)} from peers`;
  return fromStoreBytes === 0
    ? peers
    : `${peers}, ${formatShare(fromStoreBytes, sizeBytes)} was here`;
}
