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
  if (parsed.range() !== "unicast") return false;
  // Of IPv6, 2000::/3 alone is given out; beside it are IPv4-compatible addresses such as ::127.0.0.1. RFC 4291.
  return parsed.kind() === "ipv4" || (parsed.toByteArray()[0]! & 0xe0) === 0x20;
}

/** The address written in a URL's hostname, without brackets, or undefined for a name. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  return ipaddr.isValid(bare) ? bare : undefined;
}

export interface Refusal {
  readonly registry: string;
  /** What was to be dialled. */
  readonly hostname: string;
  /** Whether that is the registry itself, and not where it redirects to. */
  readonly isRegistry: boolean;
  readonly speaksTls: boolean;
  /** Where the registry can be allowed to be there. */
  readonly configurationFile: string;
}

/** The refusal of an address, with the line of configuration that would allow it. */
export function forbiddenAddress(refusal: Refusal): CodedError {
  const { registry, hostname, isRegistry, configurationFile } = refusal;
  const settings = isRegistry ? "{}" : "{allowPrivate: true}";
  const plain =
    isRegistry && refusal.speaksTls ? ", with plainHttp: true in it if it speaks no TLS," : "";
  return new CodedError(
    "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
    `${hostname} is at a private or local address, which only configured registries may be; if that is meant, write registries: {"${registry}": ${settings}}${plain} into ${configurationFile}, and restart the daemon`,
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
