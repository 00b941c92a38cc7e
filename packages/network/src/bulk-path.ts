import { randomBytes } from "node:crypto";
import type { Connection } from "@libp2p/interface";
import { type Clock, deadline, type Logger } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import { endpointOf } from "./addresses.ts";
import { type BulkClient, createBulkClient } from "./bulk-client.ts";
import { type BulkGrant, createBulkKeys, decodeGrant, encodeGrant } from "./bulk-keys.ts";
import { type BulkServer, startBulkServer } from "./bulk-server.ts";
import { type FramedStream, type FrameLimits, frameStream } from "./frames.ts";

export const BULK_KEY_PROTOCOL = "/shoal/bulk-key/1";
const KEY_FRAME_BYTES = 4096;
export const BULK_KEY_LIMITS = { readBytes: KEY_FRAME_BYTES, writeBytes: KEY_FRAME_BYTES };
const ASK_MS = 2000;

export interface BulkPathInit {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of requests and of answers, as the requester sees them. */
  readonly limits: FrameLimits;
  /** To each member. */
  readonly connections: number;
}

export interface BulkListenInit {
  readonly hosts: readonly string[];
  readonly port: number;
  readonly serve: (stream: FramedStream, peer: PeerIdString, alive: () => void) => Promise<void>;
}

/** The bulk lane over TLS, with keys that members grant each other over their admitted connections. */
export interface BulkPath extends AsyncDisposable {
  /** Where it listens. */
  readonly port: number | undefined;
  listen(init: BulkListenInit): Promise<void>;
  /** Answers a member that asks for a key. */
  answerKeys(stream: FramedStream, peer: PeerIdString, signal: AbortSignal): Promise<void>;
  /** The way to the bulk port of the member at the other end. */
  client(connection: Connection, onChange: () => void): BulkClient;
  /** Ends the keys and the connections of who is no member any more. */
  drop(peer: PeerIdString): void;
}

export function createBulkPath({ clock, logger, limits, connections }: BulkPathInit): BulkPath {
  const keys = createBulkKeys(() => clock.now(), randomBytes);
  let server: BulkServer | undefined;

  async function askGrant(connection: Connection): Promise<BulkGrant | undefined> {
    const signal = deadline(ASK_MS);
    const opened = await connection.newStream(BULK_KEY_PROTOCOL, { signal });
    const stream = frameStream(opened, BULK_KEY_LIMITS);
    try {
      await stream.write([], { signal });
      const answer = await stream.read({ signal });
      return answer === undefined || answer.length === 0 ? undefined : decodeGrant(answer);
    } finally {
      await opened.close().catch(() => undefined);
    }
  }

  return {
    get port() {
      return server?.port;
    },
    async listen({ hosts, port, serve }) {
      server = await startBulkServer({
        hosts,
        port,
        keys,
        clock,
        logger,
        serve,
        limits: { readBytes: limits.writeBytes, writeBytes: limits.readBytes },
      });
    },
    async answerKeys(stream, peer, signal) {
      if ((await stream.read({ signal })) === undefined) return;
      await stream.write(server === undefined ? [] : [encodeGrant(keys.grant(peer, server.port))]);
    },
    client: (connection, onChange) =>
      createBulkClient({
        host: endpointOf(connection.remoteAddr)?.host ?? "",
        limits,
        connections,
        askGrant: async () => await askGrant(connection),
        onChange,
        clock,
        logger,
      }),
    drop(peer) {
      keys.revoke(peer);
      server?.drop(peer);
    },
    async [Symbol.asyncDispose]() {
      await server?.[Symbol.asyncDispose]();
      server = undefined;
    },
  };
}
