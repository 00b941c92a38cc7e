import { createServer, request as httpRequest } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";

/** An HTTP proxy on a real socket: CONNECT for TLS, whole URLs for the rest. */
export interface ScriptedProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** What it was asked for: `CONNECT host:port` or `GET http://…`, with the login that came along. */
  readonly asked: { readonly what: string; readonly login: string | undefined }[];
}

export async function createScriptedProxy(
  init: {
    /** Basic login that it wants: `user:password`. */
    readonly login?: string;
    /** Answers everything with this status. */
    readonly refuse?: number;
    /** Leads every name there, as a proxy with a DNS server of its own does. */
    readonly resolve?: string;
    readonly tls?: { readonly key: string; readonly cert: string };
  } = {},
): Promise<ScriptedProxy> {
  const asked: { what: string; login: string | undefined }[] = [];
  const sockets = new Set<Socket>();
  const wanted =
    init.login === undefined ? undefined : `Basic ${Buffer.from(init.login).toString("base64")}`;

  function refusal(what: string, login: string | undefined): number | undefined {
    asked.push({ what, login });
    return login === wanted || wanted === undefined ? init.refuse : 407;
  }

  const server = init.tls === undefined ? createServer() : createTlsServer(init.tls);
  server.on("request", (incoming, response) => {
    const status = refusal(
      `${incoming.method} ${incoming.url}`,
      incoming.headers["proxy-authorization"],
    );
    if (status !== undefined) return response.writeHead(status).end();
    const { "proxy-authorization": _own, ...headers } = incoming.headers;
    const url = new URL(incoming.url!);
    const onward = httpRequest(
      { host: init.resolve ?? url.hostname, port: url.port, path: url.pathname, headers },
      (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      },
    );
    return onward.on("error", () => response.destroy()).end();
  });
  server.on("connect", (incoming, client: Socket) => {
    const target = incoming.url!;
    const status = refusal(`CONNECT ${target}`, incoming.headers["proxy-authorization"]);
    if (status !== undefined) return client.end(`HTTP/1.1 ${status} No\r\n\r\n`);
    const [name, port] = target.split(":") as [string, string];
    const onward = connect({ host: init.resolve ?? name, port: Number(port) }, () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      client.pipe(onward).pipe(client);
    });
    for (const socket of [client, onward])
      sockets.add(socket.on("error", () => [client, onward].map((other) => other.destroy())));
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
