/** The first descriptor that a service manager hands over. sd_listen_fds(3), SD_LISTEN_FDS_START. */
const FIRST = 3;
const MOST = 64;

/**
 * The listening sockets that a service manager has made for this process, by the names that it gives them:
 * nobody else can take their ports while the daemon is restarted. sd_listen_fds_with_names(3). Pure.
 * @param env `process.env` outside tests
 * @param pid of this process: what was meant for another one is not taken
 * @returns descriptors by name; those without names are `mirror`
 */
export function passedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): ReadonlyMap<string, readonly number[]> {
  const sockets = new Map<string, number[]>();
  if (env["LISTEN_PID"] !== String(pid)) return sockets;
  const text = env["LISTEN_FDS"] ?? "";
  const count = /^[1-9][0-9]{0,3}$/.test(text) ? Number(text) : 0;
  const names = env["LISTEN_FDNAMES"]?.split(":");
  for (let index = 0; index < Math.min(count, MOST); index += 1) {
    const name = names === undefined ? "mirror" : (names[index] ?? "unknown");
    const known = sockets.get(name) ?? [];
    known.push(FIRST + index);
    sockets.set(name, known);
  }
  return sockets;
}
