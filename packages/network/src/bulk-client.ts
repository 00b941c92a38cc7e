import { once } from "node:events";
import type { OnReadOpts } from "node:net";
import { connect, type ConnectionOptions, createSecureContext, type TLSSocket } from "node:tls";
import { type Clock, deadline, type Logger } from "@shoal/runtime";
import type { BulkGrant } from "./bulk-keys.ts";
import { BULK_CIPHER } from "./bulk-server.ts";
import { unreachable } from "./faults.ts";
import type { FramedStream, FrameLimits } from "./frames.ts";
import { frameSocket } from "./socket-frames.ts";

/** A handshake may take as long as this on a link that is full; requests do not wait for it. */
const CONNECT_MS = 5000;
/** Handshakes with one member at a time. */
const MAX_OPENING = 2;
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
  /** How many at most. */
  readonly connections: number;
  /** Asks the member for a key; `undefined` when it has no bulk port. */
  readonly askGrant: () => Promise<BulkGrant | undefined>;
  /** A connection is ready, or one that was begun has failed. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Connections to one member's bulk port. */
export interface BulkClient {
  /** A connection that is ready. Without one, one is begun, for later requests to find. */
  take(): FramedStream | undefined;
  /** Begins a connection if there is none. */
  prepare(): void;
  /** The member's bulk port, once a key was asked for. */
  readonly port: number | undefined;
  /** Whether there are connections, in use all of them or about to be there. */
  readonly promising: boolean;
  /** Whether a pooled stream is to be used for another request: a better one might be had. */
  prefers(stream: FramedStream): boolean;
  close(): void;
}

const secureContext = createSecureContext({ ciphers: BULK_CIPHER, minVersion: "TLSv1.3", ca: [] });

export function createBulkClient(init: BulkClientInit): BulkClient {
  const { host, limits, connections, clock, logger } = init;
  /** Each with when its key ends. */
  const streams = new Map<FramedStream, number>();
  const ready: FramedStream[] = [];
  let opening = 0;
  let current: { readonly grant: BulkGrant; readonly endsMs: number } | undefined;
  let asking: Promise<BulkGrant | undefined> | undefined;
  let failures = 0;
  let retryMs = 0;
  let closed = false;

  /** After a failure one request tries, and the others do not wait for what comes of it. */
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

  async function open(): Promise<void> {
    try {
      const used = await grantInUse();
      if (used === undefined) {
        retryMs = clock.now() + LAST_RETRY_MS;
        return;
      }
      const stream = await connectWith(used.grant);
      failures = 0;
      streams.set(stream, used.endsMs);
      ready.push(stream);
      stream.signal.addEventListener("abort", () => {
        streams.delete(stream);
        const place = ready.indexOf(stream);
        if (place !== -1) ready.splice(place, 1);
      });
      if (closed) stream.abort(unreachable("left"));
    } catch (error) {
      if (closed) return;
      current = undefined;
      // Those that failed beside another count once.
      if (clock.now() < retryMs) return;
      retryMs = clock.now() + Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
      failures += 1;
      logger.info({ error, host }, "the bulk port of a member can't be reached");
    }
  }

  function begin(): void {
    const most = failures > 0 ? 1 : MAX_OPENING;
    if (closed || clock.now() < retryMs) return;
    if (opening >= most || streams.size + opening >= connections) return;
    opening += 1;
    void open().finally(() => {
      opening -= 1;
      init.onChange();
    });
  }

  return {
    get port() {
      return current?.grant.port;
    },
    get promising() {
      return streams.size + opening > 0;
    },
    take() {
      const stream = ready.shift();
      if (stream === undefined) begin();
      return stream;
    },
    prepare() {
      if (streams.size + opening === 0) begin();
    },
    prefers(stream) {
      const endsMs = streams.get(stream);
      if (endsMs !== undefined) return clock.now() < endsMs;
      if (ready.length > 0) return false;
      begin();
      return true;
    },
    close() {
      closed = true;
      for (const stream of streams.keys()) stream.abort(unreachable("left"));
    },
  };
}
