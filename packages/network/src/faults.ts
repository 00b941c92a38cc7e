import { CodedError } from "@shoal/runtime";

export function unreachable(fault: string, cause?: unknown): CodedError<"ERR_PEER_UNREACHABLE"> {
  return new CodedError("ERR_PEER_UNREACHABLE", `the member ${fault}`, { cause });
}

export function protocolError(fault: string, cause?: unknown): CodedError<"ERR_PEER_PROTOCOL"> {
  return new CodedError(
    "ERR_PEER_PROTOCOL",
    `the member ${fault}; check that all daemons of the site run neighbouring versions`,
    { cause },
  );
}
