import { CodedError, type ErrorDetails, hasCode } from "@shoal/runtime";
import { isDockerHub } from "./settings.ts";

/** What is being asked of whom, for messages: no query and no credential. */
export interface FailureContext {
  readonly registry: string;
  /** Host that was dialled: the registry's, a token server's or a redirect's. */
  readonly host: string;
  readonly plainHttp: boolean;
}

interface SystemError {
  readonly code?: unknown;
  readonly name?: unknown;
  readonly errors?: unknown;
}

const TLS_ANSWERED_PLAIN = new Set([
  "ERR_SSL_WRONG_VERSION_NUMBER",
  "ERR_SSL_PACKET_LENGTH_TOO_LONG",
  "ERR_SSL_HTTP_REQUEST",
  "EPROTO",
]);
const TLS_CODE =
  /^(ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/;
/** What a server answers that finds no client certificate, or one that it does not know. RFC 8446, section 6.2. */
const CLIENT_CERTIFICATE_CODE =
  /ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_(EXPIRED|REVOKED|UNKNOWN)|UNSUPPORTED_CERTIFICATE|HANDSHAKE_FAILURE|ACCESS_DENIED)$/;
const TIMEOUT_CODES = new Set([
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "ETIMEDOUT",
]);

/** Names a failure of undici's or Node's by one of the codes of `Upstream`; a coded one stays as it is. */
export function networkFailure(cause: unknown, context: FailureContext): CodedError {
  if (cause instanceof CodedError) return cause;
  const code = systemCode(cause);
  const { host, registry } = context;
  const details: ErrorDetails = { registry, host, cause: code };
  const make = (as: `ERR_${string}`, message: string): CodedError =>
    new CodedError(as, message, { cause, details });

  if (code === "ENOTFOUND" || code === "ENODATA")
    return make(
      "ERR_UPSTREAM_UNKNOWN_HOST",
      // Whoever asks for Docker Hub has most often not written its name.
      isDockerHub(host)
        ? `no such host: ${host}; is this machine online, and does its DNS work?`
        : `no such host: ${host}; is the name right, and does this machine's DNS work?`,
    );
  if (code === "EAI_AGAIN")
    return make(
      "ERR_UPSTREAM_UNREACHABLE",
      `${host} could not be looked up just now; is this machine's DNS server reachable?`,
    );
  if (code === "ECONNREFUSED")
    return make(
      "ERR_UPSTREAM_UNREACHABLE",
      `${host} refuses connections; is the registry running, and is the port right?`,
    );
  if (code === "ENETUNREACH" || code === "EHOSTUNREACH")
    return make(
      "ERR_UPSTREAM_UNREACHABLE",
      `no route leads to ${host}; is this machine's network up, and a proxy needed?`,
    );
  if (TIMEOUT_CODES.has(code))
    return make(
      "ERR_UPSTREAM_TIMEOUT",
      `${host} did not answer in time; is it reachable from this machine, and not behind a proxy or firewall?`,
    );
  if (TLS_ANSWERED_PLAIN.has(code))
    return make(
      "ERR_UPSTREAM_TLS",
      `${host} does not speak TLS; if it is a plain HTTP registry, write registries: {"${registry}": {plainHttp: true}} in the configuration`,
    );
  if (CLIENT_CERTIFICATE_CODE.test(code))
    return make(
      "ERR_UPSTREAM_TLS",
      `${host} refuses this machine's client certificate, or wants one (${code}); name a good one with registries: {"${registry}": {clientCertFile: …, clientKeyFile: …}}`,
    );
  if (TLS_CODE.test(code))
    return make(
      "ERR_UPSTREAM_TLS",
      `the certificate of ${host} is not trusted (${code}); name its authority with registries: {"${registry}": {caFile: …}}, or write plainHttp: true there if it speaks no TLS`,
    );
  if (code.startsWith("HPE_"))
    return make("ERR_UPSTREAM_NOT_A_REGISTRY", `${host} does not speak HTTP; is the port right?`);
  return make(
    "ERR_UPSTREAM_UNREACHABLE",
    context.plainHttp
      ? `the connection to ${host} broke (${code}); if it expects TLS, leave plainHttp out of registries.${registry}`
      : `the connection to ${host} broke (${code}); try again, or look at the network between`,
  );
}

function systemCode(error: unknown): string {
  if (typeof error !== "object" || error === null) return "unknown";
  const { code, name, errors } = error as SystemError;
  if (typeof code === "string") return code;
  // undici leaves the code out of some of them.
  if (name === "HTTPParserError") return "HPE_UNKNOWN";
  if (Array.isArray(errors) && errors.length > 0) return systemCode(errors[0]);
  return "unknown";
}

/** What a status that is not a success means. Pure. */
export function statusFailure(
  status: number,
  subject: string,
  context: FailureContext,
  answer: {
    readonly said?: string | undefined;
    readonly html?: boolean;
    readonly loggedIn?: boolean;
  },
): CodedError {
  const { registry, host } = context;
  const details: ErrorDetails = { registry, host, status };
  const said = answer.said === undefined ? "" : ` (${answer.said})`;
  const make = (as: `ERR_${string}`, message: string): CodedError =>
    new CodedError(as, message, { details });
  switch (status) {
    case 404:
      return make(
        "ERR_UPSTREAM_NOT_FOUND",
        answer.html === true
          ? `${host} answered 404 with a web page for ${subject}; is it a registry, and is the name right?`
          : `${registry} has no ${subject}${said}; check the name, and log in if it is private`,
      );
    case 401:
      return make(
        "ERR_UPSTREAM_UNAUTHORIZED",
        answer.loggedIn === true
          ? `${registry} does not accept the credentials for ${subject}${said}; log in again`
          : `${registry} wants a login for ${subject}${said}; run docker login or podman login for it, or check the name`,
      );
    case 403:
      // ECR tells so of a login that is older than its 12 hours.
      if (answer.loggedIn === true && /expired|reauthenticate/i.test(answer.said ?? ""))
        return make(
          "ERR_UPSTREAM_UNAUTHORIZED",
          `the login for ${registry} has expired${said}; log in again`,
        );
      return make(
        "ERR_UPSTREAM_DENIED",
        `${registry} denies ${subject}${said}; ask its owner for the right to pull`,
      );
    default:
      return make(
        "ERR_UPSTREAM_STATUS",
        status >= 500
          ? `${host} failed with status ${status} for ${subject}${said}; try again later`
          : `${host} answered ${subject} with status ${status}${said}; is it a registry?`,
      );
  }
}

/** Whether asking again soon may help: a broken connection or a server's own failure. */
export function isTransient(error: unknown): error is CodedError {
  if (!(error instanceof CodedError)) return false;
  if (error.code === "ERR_UPSTREAM_UNREACHABLE") return true;
  const status = error.details["status"];
  return error.code === "ERR_UPSTREAM_STATUS" && typeof status === "number" && status >= 500;
}

/** Whether the registry has answered for good about one blob: the next try through it would fail as well. */
export function isFinal(error: unknown): boolean {
  return (
    hasCode(
      error,
      "ERR_UPSTREAM_NOT_FOUND",
      "ERR_UPSTREAM_UNAUTHORIZED",
      "ERR_UPSTREAM_DENIED",
      "ERR_UPSTREAM_NOT_A_REGISTRY",
      "ERR_UPSTREAM_TOO_LONG",
    ) ||
    // Its copy ends early.
    (error instanceof CodedError && error.details["endsHere"] === true)
  );
}

/** Whether a failure says nothing about what was asked for: the registry may answer otherwise in a while. */
export function isPassing(error: unknown): boolean {
  return hasCode(
    error,
    "ERR_UPSTREAM_UNREACHABLE",
    "ERR_UPSTREAM_PROXY",
    "ERR_UPSTREAM_UNKNOWN_HOST",
    "ERR_UPSTREAM_TIMEOUT",
    "ERR_UPSTREAM_RATE_LIMITED",
    "ERR_UPSTREAM_STATUS",
    "ERR_UPSTREAM_TRUNCATED",
    "ERR_UPSTREAM_TLS",
    "ERR_UPSTREAM_NOT_A_REGISTRY",
  );
}

/** What a registry says in its error body, made safe to show: `DENIED: requested access is denied`. */
export function readErrorBody(body: string): string | undefined {
  let text: string | undefined;
  try {
    const first = (JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[] })
      .errors?.[0];
    const parts = [first?.code, first?.message].filter((part) => typeof part === "string");
    if (parts.length > 0) text = parts.join(": ");
  } catch {
    if (/HTTPS server|HTTPS port/i.test(body)) text = "it expects HTTPS";
  }
  // Control characters of a stranger must not reach a terminal.
  return text?.replace(/\p{Cc}/gu, " ").slice(0, 200);
}
