import type { Socket } from "node:net";
import { CodedError } from "@shoal/runtime";
import type { buildConnector } from "undici";
import type { Proxy } from "./proxy.ts";

const MAX_ANSWER_BYTES = 16 * 1024;

/**
 * Makes connections through a proxy by CONNECT: RFC 9110, section 9.3.6.
 * @param connectors `toProxy` reaches the proxy; `overTunnel` speaks TLS with the target
 */
export function tunnelThrough(
  proxy: Proxy,
  connectors: {
    readonly toProxy: buildConnector.connector;
    readonly overTunnel: buildConnector.connector;
  },
  timeoutMs: number,
): buildConnector.connector {
  const { host, hostname, protocol, port } = proxy.url;
  const address = { host, hostname: hostname.replace(/^\[(.*)\]$/, "$1"), protocol, port };
  return (options, connected) => {
    const name = options.hostname.includes(":") ? `[${options.hostname}]` : options.hostname;
    const target = `${name}:${options.port || "443"}`;
    connectors.toProxy(address, (...[error, socket]) => {
      if (error !== null) return connected(proxyUnreachable(proxy, error), null);
      askForTunnel(socket, proxy, target, timeoutMs).then(
        () => connectors.overTunnel({ ...options, httpSocket: socket }, connected),
        (cause: unknown) => {
          socket.on("error", () => undefined).destroy();
          connected(cause instanceof CodedError ? cause : proxyUnreachable(proxy, cause), null);
        },
      );
      return undefined;
    });
  };
}

/** Resolves when the proxy has connected the socket to `target`. */
async function askForTunnel(
  socket: Socket,
  proxy: Proxy,
  target: string,
  timeoutMs: number,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let head = "";
  const onReadable = (): void => {
    for (;;) {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0 && head.length < MAX_ANSWER_BYTES) continue;
      const rest = end < 0 ? "" : head.slice(end + 4);
      if (rest !== "") socket.unshift(Buffer.from(rest, "latin1"));
      resolve(Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? 0));
      return;
    }
  };
  const onEnd = (): void => reject(new Error("the proxy closed the connection"));
  const timer = setTimeout(() => reject(new Error("the proxy did not answer in time")), timeoutMs);
  socket.on("readable", onReadable).on("end", onEnd).on("close", onEnd).on("error", reject);
  const login =
    proxy.authorization === undefined ? "" : `Proxy-Authorization: ${proxy.authorization}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${login}\r\n`);
  try {
    const status = await promise;
    if (status < 200 || status > 299) throw proxyRefusal(proxy, target, status);
  } finally {
    clearTimeout(timer);
    socket.off("readable", onReadable).off("end", onEnd).off("close", onEnd).off("error", reject);
  }
}

/** What a proxy's own status means. Pure. */
export function proxyRefusal(proxy: Proxy, target: string, status: number): CodedError {
  const { host } = proxy.url;
  const details = { proxy: host, host: target, status };
  if (status === 407)
    return new CodedError(
      "ERR_UPSTREAM_PROXY",
      proxy.authorization === undefined
        ? `the proxy ${host} wants a login; write user:password@ before its host in HTTPS_PROXY, HTTP_PROXY or proxy`
        : `the proxy ${host} does not accept the login in its URL; correct it in HTTPS_PROXY, HTTP_PROXY or proxy`,
      { details },
    );
  if (status >= 500)
    return new CodedError(
      "ERR_UPSTREAM_UNREACHABLE",
      `the proxy ${host} cannot reach ${target} (status ${status}); is the name right, and does the proxy's own line work?`,
      { details },
    );
  return new CodedError(
    "ERR_UPSTREAM_PROXY",
    status === 0
      ? `${host} does not speak HTTP as a proxy; correct HTTPS_PROXY, HTTP_PROXY or proxy`
      : `the proxy ${host} refuses to connect to ${target} (status ${status}); ask its operator, or go round it with NO_PROXY or proxy: none`,
    { details },
  );
}

/** A proxy that cannot be reached, or that breaks off. */
export function proxyUnreachable(proxy: Proxy, cause: unknown): CodedError {
  const { host } = proxy.url;
  const code = (cause as { code?: unknown } | null)?.code;
  const why = typeof code === "string" ? ` (${code})` : "";
  return new CodedError(
    "ERR_UPSTREAM_PROXY",
    `the proxy ${host} cannot be reached, or breaks off${why}; check HTTPS_PROXY, HTTP_PROXY or proxy, and that it runs`,
    { cause, details: { proxy: host } },
  );
}
