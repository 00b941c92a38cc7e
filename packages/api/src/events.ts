import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { CodedError } from "@shoal/runtime";
import { type RawData, WebSocket } from "ws";
import { answerError, daemonGone, protocolError, transportError } from "./errors.ts";
import { parseAnswer } from "./exchange.ts";
import { type ApiEvent, EventEnvelopeSchema, EventSchema, isEventType } from "./schema.ts";

/** A whole pull is one message; 16 MiB is some 50,000 layers. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** The socket is paused above this much unread text, so that a slow reader costs no memory. */
const HIGH_WATER_BYTES = 1024 * 1024;
const HANDSHAKE_TIMEOUT_MS = 30_000;
const MAX_ERROR_BODY_BYTES = 64 * 1024;
const NORMAL_CLOSURE = 1000;

/**
 * Reads the WebSocket at `path`, connecting when the first event is asked for. Ends when the daemon
 * closes it normally; leaving the loop closes it. Events of a type that this version does not know
 * are passed over, since a newer daemon may send them.
 *
 * @throws `signal.reason`, ERR_DAEMON_UNREACHABLE, ERR_SOCKET_PERMISSION, ERR_API_PROTOCOL, or the
 * code with which the daemon refuses
 */
export async function* readEvents(
  socketPath: string,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ApiEvent, void, undefined> {
  signal?.throwIfAborted();
  // Not a ws+unix: URL, which cannot hold a path with a colon or a space.
  const socket = new WebSocket(`ws://localhost${path}`, {
    createConnection: () => connect(socketPath),
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  const inbox = receive(socket, socketPath, path);
  const onAbort = (): void => inbox.end(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const text = await inbox.next();
      if (text === undefined) return;
      const event = parseEvent(path, text);
      if (event !== undefined) yield event;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    socket.terminate();
  }
}

/** The event, or undefined where its type is none of this version. @throws ERR_API_PROTOCOL */
export function parseEvent(path: string, text: string): ApiEvent | undefined {
  const action = `An event of ${path}`;
  if (!isEventType(parseAnswer(action, EventEnvelopeSchema, text).type)) return undefined;
  return parseAnswer(action, EventSchema, text);
}

interface Inbox {
  /** The next message, or undefined once the socket has closed normally. */
  next(): Promise<string | undefined>;
  /** What has arrived is dropped, and `next` rejects with `reason`. */
  end(reason: unknown): void;
}

function receive(socket: WebSocket, socketPath: string, path: string): Inbox {
  const messages: string[] = [];
  let unreadBytes = 0;
  let outcome: { readonly failure?: unknown } | undefined;
  let arrival = Promise.withResolvers<void>();

  function finish(result: { readonly failure?: unknown }): void {
    outcome ??= result;
    arrival.resolve();
  }

  socket.on("message", (data: RawData, isBinary) => {
    if (isBinary) {
      finish({ failure: protocolError(`${path} sent a binary message`) });
      return;
    }
    const text = textOf(data);
    messages.push(text);
    unreadBytes += text.length;
    if (unreadBytes > HIGH_WATER_BYTES) socket.pause();
    arrival.resolve();
  });
  socket.on("close", (code) => {
    finish(code === NORMAL_CLOSURE ? {} : { failure: daemonGone(socketPath) });
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    finish({ failure: transportError(`GET ${path}`, error, socketPath) });
  });
  socket.on("unexpected-response", (_request, response) => {
    const action = `GET ${path}`;
    readRefusal(action, response).then(
      (failure) => finish({ failure }),
      (error: unknown) => finish({ failure: transportError(action, error, socketPath) }),
    );
  });

  return {
    async next() {
      for (;;) {
        const text = messages.shift();
        if (text !== undefined) {
          unreadBytes -= text.length;
          if (unreadBytes <= HIGH_WATER_BYTES && socket.isPaused) socket.resume();
          return text;
        }
        if (outcome !== undefined) {
          if ("failure" in outcome) throw outcome.failure;
          return undefined;
        }
        arrival = Promise.withResolvers<void>();
        await arrival.promise;
      }
    },
    end(reason) {
      messages.length = 0;
      outcome = { failure: reason };
      arrival.resolve();
    },
  };
}

async function readRefusal(action: string, response: IncomingMessage): Promise<CodedError> {
  let body = "";
  for await (const chunk of response.setEncoding("utf8")) {
    body += String(chunk);
    if (body.length > MAX_ERROR_BODY_BYTES) break;
  }
  return answerError(action, response.statusCode ?? 0, body);
}

function textOf(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString("utf8");
  return data instanceof ArrayBuffer ? Buffer.from(data).toString("utf8") : data.toString("utf8");
}
