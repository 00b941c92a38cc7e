import type { IncomingMessage, ServerResponse } from "node:http";
import { type OciErrorCode, ociErrorBody } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";

/** What a failure looks like to a container engine. */
export interface MirrorFailure {
  readonly status: number;
  readonly code: OciErrorCode;
  readonly message: string;
}

type Subject = "manifest" | "blob" | "name";

const UNKNOWN: Readonly<Record<Subject, OciErrorCode>> = {
  manifest: "MANIFEST_UNKNOWN",
  blob: "BLOB_UNKNOWN",
  name: "NAME_UNKNOWN",
};

/**
 * What to answer for a failure. Never 401 or 429: the first hands a user's password to any mirror that asks,
 * the second makes clients sleep; 404 and 503 send them on to their own upstream.
 */
export function failureOf(error: unknown, subject: Subject): MirrorFailure {
  if (!(error instanceof CodedError))
    return { status: 503, code: "UNAVAILABLE", message: "Shoal failed; see its log" };
  const message = `[${error.code}] ${error.message}`;
  switch (error.code) {
    case "ERR_UPSTREAM_NOT_FOUND":
    case "ERR_UPSTREAM_UNAUTHORIZED":
    case "ERR_UPSTREAM_DENIED":
      return { status: 404, code: UNKNOWN[subject], message };
    case "ERR_REGISTRY_INVALID":
    case "ERR_REPOSITORY_INVALID":
      return { status: 400, code: "NAME_INVALID", message };
    case "ERR_UPSTREAM_FORBIDDEN_ADDRESS":
      return { status: 403, code: "DENIED", message };
    default:
      return { status: 503, code: "UNAVAILABLE", message };
  }
}

/** Sends an error of the distribution spec. */
export function sendError(response: ServerResponse, failure: MirrorFailure): void {
  const body = ociErrorBody(failure.code, failure.message);
  response.writeHead(failure.status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

/**
 * Ends a body that went wrong: short of its Content-Length, with FIN and not RST, which clients see as an
 * unexpected end and resume from; never as if it were whole.
 */
export function cutShort(response: ServerResponse): void {
  const { socket } = response;
  if (socket === null) return;
  socket.end();
  // A client that does not close its side must not hold the connection.
  setTimeout(() => socket.destroy(), 2000).unref();
}

/** What a request waits for is aborted by it; it does so itself when the client has gone away. */
export function clientAbort(request: IncomingMessage, response: ServerResponse): AbortController {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished)
      gone.abort(new CodedError("ERR_CLIENT_GONE", "the client went away"));
  });
  request.once("error", (error) => gone.abort(error));
  return gone;
}
