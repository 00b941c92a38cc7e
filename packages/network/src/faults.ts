import { CodedError } from "@shoal/runtime";

export function unreachable(fault: string, cause?: unknown): CodedError<"ERR_PEER_UNREACHABLE"> {
  return new CodedError("ERR_PEER_UNREACHABLE", `the member ${fault}`, { cause });
}

/** It speaks protocols under names that this machine does not know. */
export function otherVersion(cause: unknown): CodedError<"ERR_PEER_VERSION"> {
  return new CodedError(
    "ERR_PEER_VERSION",
    "the member speaks no version of the protocol that is spoken here; upgrade the older of the two, so that the daemons of the site run neighbouring versions",
    { cause },
  );
}

export function isUnknownProtocol(error: unknown): boolean {
  return error instanceof Error && error.name === "UnsupportedProtocolError";
}

export function protocolError(fault: string, cause?: unknown): CodedError<"ERR_PEER_PROTOCOL"> {
  return new CodedError(
    "ERR_PEER_PROTOCOL",
    `the member ${fault}; check that all daemons of the site run neighbouring versions`,
    { cause },
  );
}
