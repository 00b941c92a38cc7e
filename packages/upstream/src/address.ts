import type { LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import { CodedError } from "@shoal/runtime";
import ipaddr from "ipaddr.js";

/**
 * Whether an address is one of the public internet. Loopback, link-local with the clouds' metadata
 * services, private, unique-local, shared (CGNAT), multicast, reserved and unspecified ones are not.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  // NAT64 carries an IPv4 address in its last four bytes: that is what is reached. RFC 6052.
  if (parsed.kind() === "ipv6" && parsed.range() === "rfc6052")
    return ipaddr.fromByteArray(parsed.toByteArray().slice(12)).range() === "unicast";
  return parsed.range() === "unicast";
}

/** The address written in a URL's hostname, without brackets, or undefined for a name. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  return ipaddr.isValid(bare) ? bare : undefined;
}

/** The refusal of an address, with the line of configuration that would allow it. */
export function forbiddenAddress(
  registry: string,
  hostname: string,
  isRegistry: boolean,
): CodedError {
  const line = isRegistry
    ? `registries: {"${registry}": {}}`
    : `registries: {"${registry}": {allowPrivate: true}}`;
  return new CodedError(
    "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
    `${hostname} is at a private or local address, which only configured registries may be; if that is meant, write ${line} in the configuration`,
    { details: { registry, hostname } },
  );
}

/**
 * A lookup that answers with public addresses alone, so that the address that was checked is the one
 * that is dialled.
 */
export function guardLookup(
  lookup: LookupFunction,
  refuse: (hostname: string) => Error,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, []);
      const all: readonly LookupAddress[] =
        typeof found === "string" ? [{ address: found, family: 0 }] : found;
      const allowed = all.filter(({ address }) => isPublicAddress(address));
      const first = allowed[0];
      if (first === undefined) return callback(refuse(hostname), []);
      if (options.all === true) return callback(null, allowed);
      return callback(null, first.address, first.family);
    });
  };
}
