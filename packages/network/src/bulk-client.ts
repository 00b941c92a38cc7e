import { once } from "node:events";
import type { OnReadOpts } from "node:net";
import { connect, type ConnectionOptions, createSecureContext, type TLSSocket } from "node:tls";
import { type Clock, deadline, type Logger } from "@shoal/runtime";
import type { BulkGrant } from "./bulk-keys.ts";
import { BULK_CIPHER } from "./bulk-server.ts";
import { unreachable } from "./faults.ts";
import type { FramedStream, FrameLimits } from "./frames.ts";
import { frameSocket } from "./socket-frames.ts";

/** A port that does not answer by then is taken for one that a firewall keeps. */
const CONNECT_MS = 1500;
/** After a failure it is tried again, first after this, doubled each time. */
const FIRST_RETRY_MS = 2000;
const LAST_RETRY_MS = 300_000;
/** Connections without a byte for so long are closed, before the other side does. */
const IDLE_MS = 30_000;
/** A key is not used to the last moment: clocks drift, and requests take time. */
const KEY_SHARE = 0.9;

export interface BulkClientInit {
  /** The member's address. */
  readonly host: string;
  readonly limits: FrameLimits;
  /** Asks the member for a key; `undefined` when it has no bulk port. */
  readonly askGrant: () => Promise<BulkGrant | undefined>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Connections to one member's bulk port. */
export interface BulkClient {
  /** A new connection, or `undefined` while the port can't be reached. */
  open(): Promise<FramedStream | undefined>;
  /** Whether a pooled stream is to be used for another request: a better one might be had. */
  prefers(stream: FramedStream): boolean;
  close(): void;
}

const secureContext = createSecureContext({ ciphers: BULK_CIPHER, minVersion: "TLSv1.3", ca: [] });

export function createBulkClient(init: BulkClientInit): BulkClient {
  const { host, limits, clock, logger } = init;
  /** Each with when its key ends. */
  const streams = new Map<FramedStream, number>();
  let current: { readonly grant: BulkGrant; readonly endsMs: number } | undefined;
  let asking: Promise<BulkGrant | undefined> | undefined;
  let opening = 0;
  let failures = 0;
  let retryMs = 0;
  let closed = false;

  /** After a failure one request tries, and the others do not wait for what comes of it. */
  function waits(): boolean {
    return clock.now() < retryMs || (failures > 0 && opening > 0);
  }

  async function grantInUse(): Promise<{ grant: BulkGrant; endsMs: number } | undefined> {
    if (current !== undefined && clock.now() < current.endsMs) return current;
    const askedMs = clock.now();
    asking ??= init.askGrant().finally(() => {
      asking = undefined;
    });
    const grant = await asking;
    if (grant === undefined) return undefined;
    current = { grant, endsMs: askedMs + grant.lifetimeMs * KEY_SHARE };
    return current;
  }

  async function connectWith(grant: BulkGrant): Promise<FramedStream> {
    const options = {
      host,
      port: grant.port,
      secureContext,
      pskCallback: () => ({ psk: grant.key, identity: grant.identity }),
      // Whoever holds the key is the member; there is no certificate.
      checkServerIdentity: () => undefined,
    };
    const { socket, stream } = frameSocket<TLSSocket>(limits, (onread) => {
      const inPlace: ConnectionOptions & { onread: OnReadOpts } = { ...options, onread };
      return connect(inPlace);
    });
    socket.setNoDelay(true);
    try {
      await once(socket, "secureConnect", { signal: deadline(CONNECT_MS, stream.signal) });
      // A server that did not use the key has not shown that it holds it.
      if (!socket.isSessionReused()) throw unreachable("did not use the key");
    } catch (error) {
      stream.abort(unreachable("can't be reached on its bulk port", error));
      throw error;
    }
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    return stream;
  }

  return {
    async open() {
      if (waits()) return undefined;
      opening += 1;
      try {
        const used = await grantInUse();
        if (used === undefined) {
          retryMs = clock.now() + LAST_RETRY_MS;
          return undefined;
        }
        const stream = await connectWith(used.grant);
        failures = 0;
        streams.set(stream, used.endsMs);
        stream.signal.addEventListener("abort", () => streams.delete(stream));
        if (closed) stream.abort(unreachable("left"));
        return stream;
      } catch (error) {
        current = undefined;
        // Those that were begun together have failed once.
        if (clock.now() >= retryMs) {
          retryMs = clock.now() + Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
          failures += 1;
        }
        logger.info({ error, host }, "the bulk port of a member can't be reached");
        return undefined;
      } finally {
        opening -= 1;
      }
    },
    prefers(stream) {
      const endsMs = streams.get(stream);
      return endsMs === undefined ? waits() : clock.now() < endsMs;
    },
    close() {
      closed = true;
      for (const stream of streams.keys()) stream.abort(unreachable("left"));
    },
  };
}
