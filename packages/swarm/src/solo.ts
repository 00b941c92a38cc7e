import { CodedError } from "@shoal/runtime";
import type { PeerIdString, PeerTransport } from "./transport.ts";

/** The transport of a member without a site: it is alone, and coordinates itself. */
export function createSoloTransport(self = "self" as PeerIdString): PeerTransport {
  const nobody = (): never => {
    throw new CodedError("ERR_PEER_UNREACHABLE", "this machine belongs to no site");
  };
  return {
    self,
    site: "",
    members: () => [],
    request: async () => nobody(),
    handle() {},
    on: () => ({ [Symbol.dispose]() {} }),
    sign: async () => nobody(),
    verify: async () => false,
  };
}
