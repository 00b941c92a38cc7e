import { chmod, chown, mkdir, rm, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { CodedError, type Logger } from "@shoal/runtime";
import type { ZodType } from "zod";
import { localNames } from "../local-only.ts";
import { requestUrl } from "../request-url.ts";
import { apiErrorOf, statusOf } from "./errors.ts";
import { createEventStreams, type EventSource, refuseUpgrade } from "./events.ts";

const MAX_BODY_BYTES = 64 * 1024;

/** What answers one method and path; `body` is the parsed JSON where a schema is given. */
export interface ApiRoute {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Matched against the whole path; its groups are handed on. */
  readonly path: RegExp;
  readonly body?: ZodType;
  answer(groups: Readonly<Record<string, string>>, body: unknown): Promise<ApiAnswer>;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body?: unknown;
}

export interface ApiServerInit {
  readonly socketPath: string;
  readonly routes: readonly ApiRoute[];
  readonly events: EventSource;
  readonly logger: Logger;
  /** Group whose members may use the API as well as the daemon's user. @default none */
  readonly groupId?: number | undefined;
  /** Hears of each request that was refused for its `Host` or `Origin`. */
  readonly onRefused?: (request: IncomingMessage, host: string | undefined) => void;
}

/** Serves the API on a Unix socket. @throws ERR_SOCKET_IN_USE, ERR_SOCKET */
export async function startApiServer(init: ApiServerInit): Promise<AsyncDisposable> {
  const { socketPath, routes, events, logger, groupId } = init;
  const streams = createEventStreams(events);
  // No browser opens a Unix socket, but somebody may have put a port before it.
  const isLocal = localNames({ hosts: [], oneLabel: true });

  /** @throws ERR_HOST */
  function checkNames(request: IncomingMessage): void {
    if (isLocal(request)) return;
    init.onRefused?.(request, request.headers.host);
    throw new CodedError(
      "ERR_HOST",
      "a web page asks, or by a name that is not this machine's; ask the socket itself, as localhost",
    );
  }

  async function answer(request: IncomingMessage): Promise<ApiAnswer> {
    checkNames(request);
    const pathname = requestUrl(request)?.pathname ?? "";
    const here = routes.filter(({ path }) => path.test(pathname));
    const route = here.find(({ method }) => method === request.method);
    if (route === undefined) {
      const code = here.length === 0 ? "ERR_NOT_FOUND" : "ERR_METHOD";
      throw new CodedError(code, `there is no ${request.method} ${request.url} in this API`);
    }
    const groups = route.path.exec(pathname)?.groups ?? {};
    const body = route.body === undefined ? undefined : await readBody(request, route.body);
    return await route.answer(groups, body);
  }

  const server = createServer((request, response) => {
    answer(request).then(
      ({ status, body }) => send(response, status, body),
      (error: unknown) => {
        if (!(error instanceof CodedError))
          logger.error({ error, url: request.url }, "the API failed");
        send(response, statusOf(error), apiErrorOf(error));
      },
    );
  });
  server.on("upgrade", (request, socket, head) => {
    if (isLocal(request)) {
      streams.accept(request, socket, head);
      return;
    }
    init.onRefused?.(request, request.headers.host);
    refuseUpgrade(socket, "403 Forbidden");
  });
  await listen(server, socketPath, groupId);

  return {
    async [Symbol.asyncDispose]() {
      streams.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), 1000).unref();
      });
    },
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = body === undefined ? "" : JSON.stringify(body);
  response.writeHead(status, {
    ...(text === "" ? {} : { "content-type": "application/json" }),
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

async function readBody(request: IncomingMessage, schema: ZodType): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES)
      throw new CodedError("ERR_REQUEST", "the request's body is over 64 KiB");
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (cause) {
    throw new CodedError("ERR_REQUEST", "the request's body is not JSON", { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue!.path.join(".");
  throw new CodedError("ERR_REQUEST", `${where === "" ? "the request" : where}: ${issue!.message}`);
}

async function listen(
  server: Server,
  socketPath: string,
  groupId: number | undefined,
): Promise<void> {
  try {
    await removeDeadSocket(socketPath);
    // Root's is for a group, anybody else's for themselves.
    const mode = process.getuid?.() === 0 ? 0o755 : 0o700;
    await mkdir(dirname(socketPath), { recursive: true, mode });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socketPath, resolve);
    });
    if (groupId !== undefined) await chown(socketPath, -1, groupId);
    // The process's own group may be that of all users of the machine.
    await chmod(socketPath, groupId === undefined ? 0o600 : 0o660);
  } catch (cause) {
    if (cause instanceof CodedError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new CodedError(
      "ERR_SOCKET",
      `can't listen on the socket ${socketPath} (${code}); see that its folder is the daemon's own, or set socket`,
      { cause, details: { socketPath } },
    );
  }
}

/** A daemon that was killed leaves its socket behind; one that lives answers. */
async function removeDeadSocket(socketPath: string): Promise<void> {
  const found = await stat(socketPath).catch(() => undefined);
  if (found === undefined) return;
  if (found.isSocket() && (await isDead(socketPath))) {
    await rm(socketPath, { force: true });
    return;
  }
  throw new CodedError(
    "ERR_SOCKET_IN_USE",
    found.isSocket()
      ? `another daemon has the socket ${socketPath}; stop it, or set socket and state for a second one`
      : `${socketPath} is there and is no socket; remove it, or set socket`,
    { details: { socketPath } },
  );
}

/** Only a refusal shows that nobody listens: another user's socket may live and be closed to this one. */
async function isDead(socketPath: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const probe = connect(socketPath);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", ({ code }: NodeJS.ErrnoException) => {
      resolve(code === "ECONNREFUSED" || code === "ENOENT");
    });
  });
}
