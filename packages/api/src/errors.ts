import { CodedError } from "@shoal/runtime";
import { type ApiError, ApiErrorSchema } from "./schema.ts";

/** The socket is there, but this user may not open it. */
const PERMISSION = new Set(["EACCES", "EPERM"]);
/** Nobody has answered at the socket's path. */
const ABSENT = new Set(["ENOENT", "ENOTDIR", "ECONNREFUSED", "ENOTSOCK", "EPROTOTYPE"]);
const GONE = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET", "UND_ERR_CLOSED"]);
const SILENT = new Set([
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "ETIMEDOUT",
]);

/**
 * Why `action` ("GET /v1/status") got no answer, told by what the transport reported: an error that
 * says where the daemon was looked for and what to do.
 */
export function transportError(action: string, cause: unknown, socketPath: string): CodedError {
  const reason = errorCode(cause);
  if (reason !== undefined && isUnreadable(reason))
    return protocolError(`${action} got an answer that cannot be read`, { reason }, cause);
  const details = { socketPath, ...(reason === undefined ? {} : { reason }) };
  if (reason !== undefined && PERMISSION.has(reason)) {
    return new CodedError(
      "ERR_SOCKET_PERMISSION",
      `This user may not open the daemon's socket ${socketPath}. Use sudo; or join the group shoal ` +
        "(sudo usermod -aG shoal $USER, then log in again). If there is no such group, make it " +
        "(sudo groupadd shoal) and restart the daemon.",
      { cause, details },
    );
  }
  return new CodedError("ERR_DAEMON_UNREACHABLE", unreachableMessage(reason, cause, socketPath), {
    cause,
    details,
  });
}

/** HPE_…: llhttp found no HTTP. WS_ERR_…: ws found a frame that is wrong or too long. */
function isUnreadable(reason: string): boolean {
  return (
    reason.startsWith("HPE_") ||
    reason.startsWith("WS_ERR_") ||
    reason === "UND_ERR_RES_EXCEEDED_MAX_SIZE"
  );
}

function unreachableMessage(
  reason: string | undefined,
  cause: unknown,
  socketPath: string,
): string {
  if (reason !== undefined && ABSENT.has(reason)) {
    const found = reason === "ENOENT" || reason === "ENOTDIR" ? "is not there" : "answers nobody";
    return (
      `No Shoal daemon is running here: its socket ${socketPath} ${found}. Start one with ` +
      "'npm start' in Shoal's folder, or name another socket in SHOAL_SOCKET."
    );
  }
  if (reason !== undefined && GONE.has(reason)) return goneMessage(socketPath);
  if (reason !== undefined && SILENT.has(reason)) {
    return (
      `The Shoal daemon at ${socketPath} accepts connections but does not answer. ` +
      "Look at its log, and restart it if it hangs."
    );
  }
  const text = cause instanceof Error ? cause.message : String(cause);
  return `The Shoal daemon at ${socketPath} could not be reached: ${text}. Is it running?`;
}

/** The daemon stopped, or was stopped, in the middle of an answer. */
export function daemonGone(socketPath: string): CodedError<"ERR_DAEMON_UNREACHABLE"> {
  return new CodedError("ERR_DAEMON_UNREACHABLE", goneMessage(socketPath), {
    details: { socketPath },
  });
}

function goneMessage(socketPath: string): string {
  return (
    `The Shoal daemon at ${socketPath} closed the connection. It may be restarting: ` +
    "try again, and look at its log if it does not come back."
  );
}

/** What answered speaks another protocol, or another version of this one. */
export function protocolError(
  what: string,
  details: Readonly<Record<string, string | number>> = {},
  cause?: unknown,
): CodedError<"ERR_API_PROTOCOL"> {
  return new CodedError(
    "ERR_API_PROTOCOL",
    `${what}. Are the daemon and this program of the same version of Shoal?`,
    { cause, details },
  );
}

/**
 * The error that an answer outside 2xx carries; ERR_API_PROTOCOL where it is none of this API.
 * `action` names the question, for people: "GET /v1/status".
 */
export function answerError(action: string, status: number, body: string): CodedError {
  let parsed: ApiError;
  try {
    parsed = ApiErrorSchema.parse(JSON.parse(body));
  } catch (cause) {
    return protocolError(
      `${action} was answered ${status} without an error of this API`,
      { status },
      cause,
    );
  }
  return codedError(parsed.error);
}

/** An error of the API as the error it was in the daemon. */
export function codedError(error: ApiError["error"]): CodedError {
  return new CodedError(error.code as `ERR_${string}`, error.message, {
    details: error.details ?? {},
  });
}

function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === "string") return code;
  // undici's parser names the fault only in the text.
  return error.name === "HTTPParserError" ? "HPE_ERROR" : undefined;
}
