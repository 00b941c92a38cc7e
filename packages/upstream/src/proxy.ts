import { isIP } from "node:net";
import { CodedError } from "@shoal/runtime";
import ipaddr from "ipaddr.js";
import { literalAddress } from "./address.ts";
import { basicAuthorization } from "./credential.ts";

/** An HTTP proxy that requests go through. */
export interface Proxy {
  /** `http:` or `https:`, without a login. */
  readonly url: URL;
  /** Value of `Proxy-Authorization`. Secret: it is never logged. */
  readonly authorization?: string;
}

/** Finds the proxy for a request. Pure. */
export type ChooseProxy = (url: URL, setting: string | undefined) => Proxy | undefined;

/**
 * Reads a proxy's URL; without a scheme it is an `http://` one.
 * @param name what holds it, for messages, which never show the URL: it may hold a password
 * @throws ERR_REGISTRY_SETTINGS
 */
export function parseProxy(text: string, name: string): Proxy {
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (
    url === null ||
    (url.protocol !== "http:" && url.protocol !== "https:") ||
    url.hostname === "" ||
    url.pathname !== "/" ||
    url.search !== ""
  )
    throw new CodedError(
      "ERR_REGISTRY_SETTINGS",
      `${name} is no HTTP proxy; write http://host:port, with user:password@ before the host where it wants a login`,
      { details: { setting: name } },
    );
  const bare = new URL(url.origin);
  if (url.username === "" && url.password === "") return { url: bare };
  const authorization = basicAuthorization({
    kind: "basic",
    username: decoded(url.username),
    password: decoded(url.password),
  });
  return { url: bare, authorization };
}

/**
 * The rule by which proxies are chosen: a registry's own setting before `HTTPS_PROXY`, `HTTP_PROXY` and
 * `NO_PROXY` of the environment, in any letter case.
 * @throws ERR_REGISTRY_SETTINGS when a variable names no HTTP proxy
 */
export function createProxyChoice(env: Readonly<Record<string, string | undefined>>): ChooseProxy {
  const read = (name: string): Proxy | undefined => {
    const text = variable(env, name);
    return text === undefined ? undefined : parseProxy(text, name);
  };
  const ofScheme = new Map([
    ["https:", read("HTTPS_PROXY")],
    ["http:", read("HTTP_PROXY")],
  ]);
  const exceptions = variable(env, "NO_PROXY") ?? "";
  return (url, setting) => {
    if (setting === "none") return undefined;
    if (setting !== undefined) return parseProxy(setting, "proxy");
    return isDirect(url, exceptions) ? undefined : ofScheme.get(url.protocol);
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The upper-case name first, then the lower-case one, then any. */
function variable(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
): string | undefined {
  const names = [
    name,
    name.toLowerCase(),
    ...Object.keys(env).filter((key) => key.toUpperCase() === name),
  ];
  return names.map((key) => env[key]?.trim()).find((value) => value !== undefined && value !== "");
}

/**
 * Whether `NO_PROXY` lets a URL be reached directly, as in Go, whose engines read the same variable: `*`;
 * a domain with all below it; `.domain` or `*.domain` with what is below alone; an address; a range
 * `10.0.0.0/8`; each with `:port` for that port alone. This machine itself is always direct. Pure.
 */
export function isDirect(url: URL, exceptions: string): boolean {
  const hostname = url.hostname.toLowerCase().replace(/\.$/, "");
  const address = literalAddress(hostname);
  if (hostname === "localhost") return true;
  if (address !== undefined && ipaddr.process(address).range() === "loopback") return true;
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return exceptions
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => matches(entry, hostname, address, port));
}

function matches(
  entry: string,
  hostname: string,
  address: string | undefined,
  port: string,
): boolean {
  if (entry === "*") return true;
  const range = /^(.+)\/(\d{1,3})$/.exec(entry);
  if (range !== null) return address !== undefined && isWithin(address, entry);
  const withPort = isIP(entry) === 0 ? /^(\[.*\]|[^:]*):(\d+)$/.exec(entry) : null;
  if (withPort !== null && withPort[2] !== port) return false;
  const host = withPort?.[1] ?? entry;
  // Most entries are names, and looking for an address in each takes a while.
  const literal = /^(?:\d|\[|[0-9a-f]*:)/.test(host) ? literalAddress(host) : undefined;
  if (literal !== undefined)
    return (
      address !== undefined &&
      ipaddr.process(literal).toNormalizedString() === ipaddr.process(address).toNormalizedString()
    );
  const domain = host.replace(/^\*?\./, "");
  if (domain === "" || address !== undefined) return false;
  return hostname.endsWith(`.${domain}`) || (domain === host && hostname === domain);
}

function isWithin(address: string, range: string): boolean {
  if (!ipaddr.isValidCIDR(range)) return false;
  const [network, bits] = ipaddr.parseCIDR(range);
  const parsed = ipaddr.process(address);
  return parsed.kind() === network.kind() && parsed.match(network, bits);
}
