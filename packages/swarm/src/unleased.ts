/** How often those who wait in vain think of fetching without a lease. Milliseconds. */
export const WATCH_MS = 500;
/** Without a byte for this long, one does. Milliseconds. */
export const SILENT_MS = 15_000;
/** About so many members of the site do so each {@link WATCH_MS}. */
const FETCHERS = 4;

/** Whether this machine is one of the few of a crowd that now fetch without a lease: each at random. Pure. */
export function fetchesUnleased(crowd: number, random: () => number): boolean {
  return random() < FETCHERS / crowd;
}
