import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { ApiEvent, Pull } from "@shoal/api";
import { type WebSocket, WebSocketServer } from "ws";
import { requestUrl } from "../request-url.ts";

/** A listener that reads slower than this is behind by more bytes than it may be, and is dropped. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;

/** A listener that does not say goodbye in this time is cut off. Milliseconds. */
const GOODBYE_MS = 1000;

/** Answers a request for an upgrade that is refused; who does not close the connection is cut off. */
export function refuseUpgrade(socket: Duplex, status: string, body = ""): void {
  const type = body === "" ? "" : "content-type: application/json\r\n";
  // Node takes its own listener away with the upgrade; a client that breaks off must not end the daemon.
  socket.on("error", () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status}\r\n${type}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
  setTimeout(() => socket.destroy(), GOODBYE_MS).unref();
}

/** Where events come from. */
export interface EventSource {
  on(listener: (event: ApiEvent) => void): Disposable;
  pull(id: string): Pull | undefined;
}

/** The WebSocket end of `GET /v1/events`. */
export interface EventStreams {
  accept(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  close(): void;
}

export function createEventStreams(source: EventSource): EventStreams {
  const server = new WebSocketServer({ noServer: true, maxPayload: 1024 });

  function serve(listener: WebSocket, pullId: string | null): void {
    const send = (event: ApiEvent): void => {
      if (listener.bufferedAmount > MAX_BUFFERED_BYTES) listener.terminate();
      else listener.send(JSON.stringify(event));
    };
    const subscription = source.on((event) => {
      if (pullId === null || (event.type === "pull" && event.pull.id === pullId)) send(event);
    });
    listener.on("close", () => subscription[Symbol.dispose]());
    listener.on("error", () => listener.terminate());
    const pull = pullId === null ? undefined : source.pull(pullId);
    if (pull !== undefined) send({ type: "pull", pull });
  }

  return {
    accept(request, socket, head) {
      const url = requestUrl(request);
      const pullId = url?.searchParams.get("pull") ?? null;
      const missing = pullId !== null && source.pull(pullId) === undefined;
      if (url?.pathname !== "/v1/events" || missing) {
        const error = missing
          ? { code: "ERR_PULL_NOT_FOUND", message: `there is no pull ${pullId}; see shoal pulls` }
          : { code: "ERR_NOT_FOUND", message: `there is no ${request.url} in this API` };
        refuseUpgrade(socket, "404 Not Found", JSON.stringify({ error }));
        return;
      }
      // Node takes its own listener away with the upgrade; a client that breaks off must not end the daemon.
      socket.on("error", () => socket.destroy());
      server.handleUpgrade(request, socket, head, (listener) => serve(listener, pullId));
    },
    close() {
      for (const listener of server.clients) listener.close(1001, "the daemon stops");
      server.close();
      setTimeout(() => {
        for (const listener of server.clients) listener.terminate();
      }, GOODBYE_MS).unref();
    },
  };
}
