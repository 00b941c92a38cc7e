/** Where bytes came from. */
export interface Sources {
  readonly upstreamBytes: number;
  readonly peersBytes: number;
  readonly storeBytes: number;
}

export const BAR_UPSTREAM = "█";
export const BAR_PEERS = "▓";
export const BAR_STORE = "░";
const BAR_MISSING = "·";

/**
 * Exactly `width` columns that show how much of `sizeBytes` has arrived and from where. It is full
 * only when everything has arrived, and a source that gave anything gets a column if there are
 * enough of them.
 */
export function bar(
  arrivedBytes: number,
  sizeBytes: number,
  sources: Sources,
  width: number,
): string {
  const arrived = Math.min(arrivedBytes, sizeBytes);
  const filled = sizeBytes === 0 ? width : Math.floor((width * arrived) / sizeBytes);
  const { upstreamBytes, peersBytes, storeBytes } = sources;
  const total = upstreamBytes + peersBytes + storeBytes;
  const upstream = total === 0 ? 0 : columnsOf(upstreamBytes, total, filled);
  const peers = total === 0 ? 0 : Math.min(filled - upstream, columnsOf(peersBytes, total, filled));
  return (
    BAR_UPSTREAM.repeat(upstream) +
    BAR_PEERS.repeat(peers) +
    BAR_STORE.repeat(filled - upstream - peers) +
    BAR_MISSING.repeat(width - filled)
  );
}

function columnsOf(bytes: number, total: number, filled: number): number {
  if (bytes === 0) return 0;
  // Rounded up to one, so that a little of the registry is not shown as none; rounded down from
  // all, so that a little of the peers is not either.
  const share = Math.round((bytes / total) * filled);
  const most = bytes < total ? Math.max(0, filled - 1) : filled;
  return Math.min(Math.max(1, share), most);
}
