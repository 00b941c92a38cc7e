import type { LayerProgress, Pull } from "@shoal/api";
import { cut, formatBytes, formatDuration, formatShare, shortDigest } from "./format.ts";

const FROM_REGISTRY = "█";
const FROM_PEERS = "▓";
const FROM_STORE = "▒";
const MISSING = "░";
const MIN_BAR = 8;

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

/** A pull as lines of a terminal: a bar a layer, then the sum. Never wider than `columns`. */
export function pullLines(pull: Pull, columns: number, nowMs: number): string[] {
  const lines = [`${pull.reference} (${pull.platform})${pull.stale === true ? ", stale" : ""}`];
  if (pull.layers.length > 0)
    lines.push(`${FROM_REGISTRY} registry  ${FROM_PEERS} peers  ${FROM_STORE} was here`);
  for (const layer of pull.layers) lines.push(layerLine(layer, columns));
  if (pull.state === "resolving") lines.push("asking what the reference names …");
  else if (pull.layers.length > 0) lines.push(sumLine(pull, nowMs));
  return lines.map((line) => cut(line, columns));
}

function layerLine(layer: LayerProgress, columns: number): string {
  const name = shortDigest(layer.digest);
  const size = `${formatBytes(layer.arrivedBytes)}/${formatBytes(layer.sizeBytes)}`.padStart(19);
  const state = layer.state === "failed" ? " failed" : "";
  const room = Math.min(40, columns - name.length - size.length - state.length - 2);
  if (room < MIN_BAR) return `${name} ${formatShare(layer.arrivedBytes, layer.sizeBytes)}${state}`;
  return `${name} ${bar(layer, room)} ${size}${state}`;
}

/** The widths are the parts' shares; what arrived is never shown as more than it is. */
function bar(layer: LayerProgress, width: number): string {
  const { sizeBytes, fromStoreBytes, fromUpstreamBytes, fromPeersBytes } = layer;
  const done = layer.state === "done";
  const part = (bytes: number): number =>
    sizeBytes === 0 ? 0 : Math.floor((bytes / sizeBytes) * width);
  const store = part(fromStoreBytes);
  const upstream = part(fromUpstreamBytes);
  const peers = part(fromPeersBytes);
  let text = FROM_STORE.repeat(store) + FROM_REGISTRY.repeat(upstream) + FROM_PEERS.repeat(peers);
  text = text.slice(0, width);
  if (!done) return text.padEnd(width, MISSING);
  // A layer that is done has a full bar: rounding is given to the largest part.
  const most = Math.max(fromStoreBytes, fromUpstreamBytes, fromPeersBytes);
  const filler =
    most === fromPeersBytes && most > 0
      ? FROM_PEERS
      : most === fromUpstreamBytes && most > 0
        ? FROM_REGISTRY
        : FROM_STORE;
  return text.padEnd(width, filler);
}

function sumLine(pull: Pull, nowMs: number): string {
  const bytes = bytesOf(pull.layers);
  const elapsedMs = Math.max(1, nowMs - Date.parse(pull.startedAt));
  const fresh = bytes.arrived - bytes.store;
  const rate = (fresh / elapsedMs) * 1000;
  const left = rate > 0 ? ((bytes.size - bytes.arrived) / rate) * 1000 : 0;
  const eta = pull.state === "fetching" && rate > 0 ? `, ${formatDuration(left)} left` : "";
  return `${formatBytes(bytes.arrived)} of ${formatBytes(bytes.size)}, ${formatBytes(rate)}/s${eta}`;
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
  return `pulled ${pull.reference}@${pull.digest ?? "?"}${stale}  ${formatBytes(bytes.size)}: ${shares || "nothing to fetch"}, in ${formatDuration(tookMs)}`;
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
      const { sizeBytes, fromPeersBytes } = layer;
      const share =
        layer.state === "done" ? `, ${formatShare(fromPeersBytes, sizeBytes)} from peers` : "";
      return `${layer.state} ${shortDigest(layer.digest)} ${formatBytes(sizeBytes)}${share}`;
    });
}
