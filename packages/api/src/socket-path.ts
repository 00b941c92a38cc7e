import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** The socket of a daemon that runs as root. */
export const SYSTEM_SOCKET_PATH = "/run/shoal/shoal.sock";

/**
 * Where a program of user `uid` looks for the daemon: `SHOAL_SOCKET` if it is set, the system's
 * daemon for root or where there is one, otherwise the user's own in `$XDG_RUNTIME_DIR`.
 *
 * Without `XDG_RUNTIME_DIR` the folder that systemd would have made is taken, and where that is missing
 * the user's state folder; never one in `/tmp`, where anybody else could have put a socket of that name
 * first.
 */
export function defaultSocketPath(
  env: Readonly<Record<string, string | undefined>>,
  uid: number,
  exists: (path: string) => boolean = existsSync,
): string {
  const configured = env["SHOAL_SOCKET"];
  if (configured !== undefined && configured !== "") return configured;
  if (uid === 0 || exists(SYSTEM_SOCKET_PATH)) return SYSTEM_SOCKET_PATH;
  return join(userFolder(env, uid, exists), "shoal", "shoal.sock");
}

function userFolder(
  env: Readonly<Record<string, string | undefined>>,
  uid: number,
  exists: (path: string) => boolean,
): string {
  const configured = env["XDG_RUNTIME_DIR"];
  if (configured !== undefined && configured !== "") return configured;
  const made = `/run/user/${uid}`;
  if (exists(made)) return made;
  return env["XDG_STATE_HOME"] || join(env["HOME"] || homedir(), ".local/state");
}
