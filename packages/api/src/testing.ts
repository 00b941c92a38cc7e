/**
 * A daemon without a store or a network, that speaks the real API over a real Unix socket: for tests
 * of clients. What it says is checked against the schemas before it is sent.
 *
 * @packageDocumentation
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import {
  type ApiEvent,
  EventSchema,
  type Image,
  ImageListSchema,
  isFinished,
  type Limits,
  LimitsChangeSchema,
  LimitsSchema,
  JoinRequestSchema,
  type PeerList,
  PeerListSchema,
  type Pull,
  PullListSchema,
  PullRequestSchema,
  PullSchema,
  type Status,
  StatusSchema,
} from "./schema.ts";

/** What is sent in place of the usual answer to `METHOD /path`. */
export interface ScriptedAnswer {
  readonly status: number;
  /** Sent as it is when it is a string, as JSON otherwise. */
  readonly body: unknown;
}

export interface ScriptedDaemonInit {
  readonly socketPath: string;
  readonly status?: Status;
  readonly peers?: PeerList;
  readonly images?: readonly Image[];
  readonly limits?: Limits;
  readonly token?: string;
  /** The states of the pull with id "1", told one after the other to whoever listens. */
  readonly pull?: readonly Pull[];
  /** Between two states. @default 0 */
  readonly stepMs?: number;
  /** By method and path, as in "GET /v1/status". */
  readonly answers?: Readonly<Record<string, ScriptedAnswer>>;
}

export interface ScriptedDaemon extends AsyncDisposable {
  readonly socketPath: string;
  /** "METHOD /path BODY" of every request so far, WebSockets included. */
  readonly requests: readonly string[];
  /** To every listener, as text. */
  broadcast(text: string): void;
  /** Drops every connection, as a killed daemon would. */
  dropConnections(): void;
}

export async function startScriptedDaemon(init: ScriptedDaemonInit): Promise<ScriptedDaemon> {
  const steps = init.pull ?? [];
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const listeners = new Set<WebSocket>();
  let step = 0;

  function reply(response: ServerResponse, status: number, body: unknown): void {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  }

  function route(key: string, body: string): ScriptedAnswer {
    const scripted = init.answers?.[key];
    if (scripted !== undefined) return scripted;
    const current = steps[Math.min(step, steps.length - 1)];
    switch (key) {
      case "GET /v1/status":
        return { status: 200, body: StatusSchema.parse(init.status) };
      case "GET /v1/peers":
        return { status: 200, body: PeerListSchema.parse(init.peers) };
      case "GET /v1/images":
        return { status: 200, body: ImageListSchema.parse({ images: init.images }) };
      case "PATCH /v1/limits":
        LimitsChangeSchema.parse(JSON.parse(body));
        return { status: 200, body: LimitsSchema.parse(init.limits) };
      case "GET /v1/limits":
        return { status: 200, body: LimitsSchema.parse(init.limits) };
      case "GET /v1/pulls": {
        const pulls = current === undefined ? [] : [current];
        return { status: 200, body: PullListSchema.parse({ pulls }) };
      }
      case "POST /v1/pulls":
        PullRequestSchema.parse(JSON.parse(body));
        return { status: 202, body: PullSchema.parse(current) };
      case "GET /v1/pulls/1":
        return { status: 200, body: PullSchema.parse(current) };
      case "DELETE /v1/pulls/1":
        cancel();
        return { status: 204, body: "" };
      case "GET /v1/site/token":
        return { status: 200, body: { token: init.token } };
      case "POST /v1/site/join":
        JoinRequestSchema.parse(JSON.parse(body));
        return { status: 200, body: { outcome: "joined", site: "5173".repeat(8) } };
      default: {
        const error = { code: "ERR_NOT_FOUND", message: `There is no ${key}.` };
        return { status: 404, body: { error } };
      }
    }
  }

  let cancelled = false;
  function cancel(): void {
    const current = steps[step];
    if (current === undefined) return;
    cancelled = true;
    send({ type: "pull", pull: { ...current, state: "cancelled" } });
  }

  function send(event: ApiEvent): void {
    const text = JSON.stringify(EventSchema.parse(event));
    for (const listener of listeners) listener.send(text);
  }

  const server = createServer((request, response) => {
    readText(request).then(
      (body) => {
        requests.push(`${request.method} ${request.url} ${body}`.trimEnd());
        const answer = route(`${request.method} ${request.url}`, body);
        reply(response, answer.status, answer.body);
      },
      () => response.destroy(),
    );
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });

  const upgrades = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    requests.push(`GET ${request.url} upgrade`);
    const scripted = init.answers?.[`GET ${request.url}`];
    if (scripted !== undefined) {
      const body = JSON.stringify(scripted.body);
      socket.end(
        `HTTP/1.1 ${scripted.status} Refused\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
      return;
    }
    upgrades.handleUpgrade(request, socket, head, (listener) => {
      listeners.add(listener);
      listener.on("close", () => listeners.delete(listener));
      play();
    });
  });

  /** Tells the pull's next state, and then the one after it. */
  function play(): void {
    const current = steps[step];
    if (current === undefined || cancelled || listeners.size === 0) return;
    send({ type: "pull", pull: current });
    if (isFinished(current) || step === steps.length - 1) return;
    step += 1;
    setTimeout(play, init.stepMs ?? 0);
  }

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(init.socketPath, resolve);
  });

  return {
    socketPath: init.socketPath,
    requests,
    broadcast(text) {
      for (const listener of listeners) listener.send(text);
    },
    dropConnections() {
      for (const socket of sockets) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

async function readText(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += String(chunk);
  return text;
}
