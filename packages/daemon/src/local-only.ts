import type { IncomingMessage, RequestListener } from "node:http";

const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3}|\[::1\]|::1)$/i;

/**
 * Lets through requests for this machine's own names alone: a web page that had its name rebound to
 * loopback is refused by its `Host`, one that calls across sites by its `Origin`.
 */
export function localOnly(hosts: readonly string[], answer: RequestListener): RequestListener {
  const allowed = new Set(hosts.map((host) => host.toLowerCase()));

  function isLocal(name: string): boolean {
    const host = name.replace(/:[0-9]+$/, "").toLowerCase();
    return LOOPBACK.test(host) || allowed.has(host) || allowed.has(name.toLowerCase());
  }

  function mayPass({ headers }: IncomingMessage): boolean {
    if (headers.host === undefined || !isLocal(headers.host)) return false;
    if (headers.origin === undefined) return true;
    const origin = URL.parse(headers.origin);
    return origin !== null && isLocal(origin.host);
  }

  return (request, response) => {
    if (mayPass(request)) {
      answer(request, response);
      return;
    }
    const body = JSON.stringify({
      errors: [
        {
          code: "DENIED",
          message: `[ERR_HOST] this name is not one of Shoal's; add it to mirror.hosts if it should be`,
        },
      ],
    });
    response.writeHead(403, { "content-type": "application/json", connection: "close" });
    response.end(body);
  };
}
