import { hasCode } from "@shoal/api";

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  denied: 5,
  interrupted: 130,
} as const;

/** What a script can tell from the exit. */
export const EXIT_HELP = `
Exit codes:
  0 done  1 failed  2 wrong usage  3 the daemon can't be reached
  4 the registry has no such image  5 the registry wants another login  130 interrupted

With --json a failure is {"error":{"code","message"}} on standard error.`;

/** The exit code of a failure. */
export function exitCodeOf(error: unknown): number {
  if (hasCode(error, "ERR_DAEMON_UNREACHABLE", "ERR_SOCKET_PERMISSION")) return EXIT.unreachable;
  if (hasCode(error, "ERR_UPSTREAM_NOT_FOUND", "ERR_PLATFORM_NOT_FOUND")) return EXIT.notFound;
  if (hasCode(error, "ERR_INTERRUPTED")) return EXIT.interrupted;
  if (hasCode(error, "ERR_UPSTREAM_UNAUTHORIZED", "ERR_UPSTREAM_DENIED")) return EXIT.denied;
  if (
    hasCode(
      error,
      "ERR_USAGE",
      // An argument that the API does not take: empty, or too long.
      "ERR_REQUEST",
      "ERR_REFERENCE_INVALID",
      "ERR_PLATFORM_INVALID",
      "ERR_TOKEN_INVALID",
    )
  )
    return EXIT.usage;
  return EXIT.failed;
}
