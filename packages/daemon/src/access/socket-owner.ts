import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { endianness } from "node:os";

/** An end of a connection, its address as Node writes it. */
export interface SocketEnd {
  readonly address: string;
  readonly port: number;
}

/** Rows of a table that is read while connections come and go may be left out: it is read so many times. */
const TRIES = 3;
/** proc_pid_net(5): addresses, state, queues, timer, retransmissions, user, timeout, inode. */
const ROW =
  /^ *[0-9]+: [0-9A-F]+:[0-9A-F]{4} [0-9A-F]+:[0-9A-F]{4} 01 [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:[0-9A-F]+ [0-9A-F]+ +([0-9]{1,10}) +[0-9]+ ([0-9]+) /;

/**
 * The user who owns the other end of a connection over loopback, by the kernel's tables; `undefined` where that
 * can't be told: not over loopback, not a connection of this machine, or closed at that end.
 */
export async function peerUser({
  remoteAddress,
  remotePort,
  localAddress,
  localPort,
}: Pick<Socket, "remoteAddress" | "remotePort" | "localAddress" | "localPort">): Promise<
  number | undefined
> {
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  if (localAddress === undefined || localPort === undefined) return undefined;
  const client = { address: remoteAddress, port: remotePort };
  const server = { address: localAddress, port: localPort };
  for (let attempt = 0; attempt < TRIES; attempt += 1)
    for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
      const text = await readFile(table, "latin1").catch(() => "");
      const user = ownerOf(text, client, server);
      if (user !== undefined) return user;
    }
  return undefined;
}

/**
 * The user of the client's end of an established connection over loopback, by the text of /proc/net/tcp or tcp6.
 * An end without an inode has been closed by its process, and its row names root whoever that was. Pure.
 */
export function ownerOf(
  table: string,
  client: SocketEnd,
  server: SocketEnd,
  byteOrder: "LE" | "BE" = endianness(),
): number | undefined {
  const users = new Set<number | undefined>();
  for (const wide of [false, true]) {
    const from = endText(client, wide, byteOrder);
    const to = endText(server, wide, byteOrder);
    if (from === undefined || to === undefined) continue;
    const needle = `: ${from} ${to} 01 `;
    for (let at = table.indexOf(needle); at >= 0; at = table.indexOf(needle, at + 1))
      users.add(userOf(table.slice(table.lastIndexOf("\n", at) + 1, lineEnd(table, at))));
  }
  // Two rows for one connection would be a table that is not what it is taken for.
  return users.size === 1 ? [...users][0] : undefined;
}

function userOf(line: string): number | undefined {
  const row = ROW.exec(line);
  if (row === null || Number(row[2]) === 0) return undefined;
  return Number(row[1]);
}

function lineEnd(table: string, at: number): number {
  const end = table.indexOf("\n", at);
  return end < 0 ? table.length : end;
}

/** An end on loopback as the tables write it: words of 32 bits in the machine's byte order. */
function endText(
  { address, port }: SocketEnd,
  wide: boolean,
  byteOrder: "LE" | "BE",
): string | undefined {
  const word = (bytes: readonly number[]): string => {
    const ordered = byteOrder === "LE" ? bytes.toReversed() : bytes;
    return ordered.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  };
  const zero = "00000000";
  let words: string;
  if (address === "::1") {
    if (!wide) return undefined;
    words = `${zero}${zero}${zero}${word([0, 0, 0, 1])}`;
  } else {
    const match = /^(?:::ffff:)?127\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})$/i.exec(address);
    if (match === null) return undefined;
    const bytes = [127, ...match.slice(1).map(Number)];
    if (bytes.some((byte) => byte > 255)) return undefined;
    words = wide ? `${zero}${zero}${word([0, 0, 255, 255])}${word(bytes)}` : word(bytes);
  }
  return `${words}:${port.toString(16).padStart(4, "0")}`.toUpperCase();
}
