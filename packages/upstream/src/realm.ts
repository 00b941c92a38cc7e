import { CodedError } from "@shoal/runtime";
import { getDomain } from "tldts";
import type { RegistryEndpoint } from "./settings.ts";

/**
 * The URL of the token server that a challenge names, if a registry may send us there with a login:
 * its own host, a host of the same registrable domain, or a configured one; never in the clear for a
 * registry that is spoken to over TLS. Pure.
 * @throws ERR_UPSTREAM_REALM
 */
export function checkRealm(endpoint: RegistryEndpoint, realm: string | undefined): URL {
  const { registry, base, settings } = endpoint;
  const refuse = (problem: string): CodedError =>
    new CodedError("ERR_UPSTREAM_REALM", `${registry} ${problem}`, { details: { registry } });
  const url = realm === undefined ? null : URL.parse(realm, base.href);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:"))
    throw refuse("names no usable token server in its challenge; is it a registry?");
  if (url.username !== "" || url.password !== "")
    throw refuse("names a token server with a login in its URL, which is not used");
  if (base.protocol === "https:" && url.protocol !== "https:")
    throw refuse("wants the login sent to a token server without TLS, which is refused");
  if (url.hostname === base.hostname || sharesDomain(url.hostname, base.hostname)) return url;
  if ((settings.tokenRealms ?? []).some((allowed) => URL.parse(allowed)?.origin === url.origin))
    return url;
  throw refuse(
    `sends logins to ${url.origin}, which is not of its own domain; if that is right, write registries: {"${registry}": {tokenRealms: ["${url.origin}"]}} in the configuration`,
  );
}

function sharesDomain(one: string, other: string): boolean {
  // Private suffixes count: two customers of one hoster do not share a domain.
  const domain = getDomain(one, { allowPrivateDomains: true });
  return domain !== null && domain === getDomain(other, { allowPrivateDomains: true });
}
