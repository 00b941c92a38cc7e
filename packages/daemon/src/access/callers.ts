import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { SOCKET_GROUP } from "../api/socket-group.ts";
import { isMember } from "./local-users.ts";
import type { SecretCheck } from "./mirror-secret.ts";
import { peerUser } from "./socket-owner.ts";

/** Who stands behind a request to the mirror. */
export interface Caller {
  /** Whether what this machine's logins open is theirs to read. */
  readonly mayReadPrivate: boolean;
  /** The user of this machine, where that can be told. */
  readonly user?: number | undefined;
}

/** Tells the callers of the mirror apart. */
export type IdentifyCaller = (request: IncomingMessage) => Promise<Caller>;

/** Set by what passes requests of others on: the connection's owner is then not who asks. */
const FORWARDED = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/**
 * Root, the daemon's user and the members of the group `shoal` may, by who owns the connection's other end, and
 * whoever knows the secret. Each connection is looked up once.
 */
export function createIdentifyCaller(init: {
  /** The daemon's user. */
  readonly uid: number;
  readonly hasSecret?: SecretCheck | undefined;
}): IdentifyCaller {
  const owners = new WeakMap<Socket, Promise<Caller>>();

  async function ownerOf(socket: Socket): Promise<Caller> {
    const user = await peerUser(socket);
    if (user === undefined) return { mayReadPrivate: false };
    const isOurs = user === 0 || user === init.uid;
    return { user, mayReadPrivate: isOurs || (await isInGroup(user)) };
  }

  return async ({ headers, socket }) => {
    if (init.hasSecret?.(headers) === true) return { mayReadPrivate: true };
    if (FORWARDED.some((name) => headers[name] !== undefined)) return { mayReadPrivate: false };
    const known = owners.get(socket) ?? ownerOf(socket);
    owners.set(socket, known);
    return await known;
  };
}

async function isInGroup(user: number): Promise<boolean> {
  const read = async (path: string) => await readFile(path, "utf8").catch(() => "");
  const files = { passwd: await read("/etc/passwd"), group: await read("/etc/group") };
  return isMember(user, SOCKET_GROUP, files);
}
