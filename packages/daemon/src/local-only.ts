import type { IncomingMessage, RequestListener } from "node:http";

const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3}|\[::1\]|::1)$/i;
const ONE_LABEL = /^[a-z0-9_-]*[a-z_-][a-z0-9_-]*$/;
/** What a browser says of a request that a page of another site or origin has made. W3C Fetch Metadata. */
const FOREIGN = new Set(["cross-site", "same-site"]);

export interface LocalOnlyInit {
  /** Names besides loopback's that a `Host` may carry. */
  readonly hosts: readonly string[];
  /** The setting with those names, for who is refused. */
  readonly setting: string;
  /**
   * Whether the address that was connected to is a name too: no page can have that rebound.
   * @default false
   */
  readonly byAddress?: boolean;
  /**
   * Whether a name of one label will do, as programs make one up for a Unix socket: no page comes from such a
   * host. @default false
   */
  readonly oneLabel?: boolean;
  /** Hears of each request that was refused, with the name that it came by. */
  readonly onRefused?: (request: IncomingMessage, host: string | undefined) => void;
}

/**
 * Tells requests for this machine's own names from others: a web page that had its name rebound to loopback
 * is known by its `Host`, one that calls across sites by its `Origin` or `Sec-Fetch-Site`.
 */
export function localNames(
  init: Pick<LocalOnlyInit, "hosts" | "byAddress" | "oneLabel">,
): (request: Pick<IncomingMessage, "headers" | "socket">) => boolean {
  const allowed = new Set(init.hosts.map((host) => host.toLowerCase()));

  function isLocal(name: string, address: string | undefined): boolean {
    const host = name.replace(/:[0-9]+$/, "").toLowerCase();
    if (LOOPBACK.test(host) || allowed.has(host) || allowed.has(name.toLowerCase())) return true;
    if (init.oneLabel === true && ONE_LABEL.test(host)) return true;
    return init.byAddress === true && address !== undefined && host === bracketed(address);
  }

  return ({ headers, socket }) => {
    const { localAddress } = socket;
    if (headers.host === undefined || !isLocal(headers.host, localAddress)) return false;
    if (FOREIGN.has(headers["sec-fetch-site"]?.toLowerCase() ?? "")) return false;
    if (headers.origin === undefined) return true;
    const origin = URL.parse(headers.origin);
    return origin !== null && isLocal(origin.host, localAddress);
  };
}

/** Lets through requests for this machine's own names alone. */
export function localOnly(init: LocalOnlyInit, answer: RequestListener): RequestListener {
  const mayPass = localNames(init);
  return (request, response) => {
    if (mayPass(request)) {
      answer(request, response);
      return;
    }
    init.onRefused?.(request, request.headers.host);
    const body = JSON.stringify({
      errors: [
        {
          code: "DENIED",
          message: `[ERR_HOST] this name is not one of Shoal's, or a web page of another site asks; add the name to ${init.setting} if it should be`,
        },
      ],
    });
    response.writeHead(403, { "content-type": "application/json", connection: "close" });
    response.end(body);
  };
}

/** An address as a `Host` has it. */
function bracketed(address: string): string {
  const plain = address.replace(/^::ffff:(?=[0-9.]+$)/, "");
  return plain.includes(":") ? `[${plain}]` : plain;
}
