import type { IncomingHttpHeaders, ServerResponse } from "node:http";

/** What one answer does differently. */
export interface Quirk {
  /** Answer with this and nothing of the content. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Body instead of the content's. */
  readonly body?: string | Uint8Array;
  /** Headers that are left out. */
  readonly omit?: readonly string[];
  /** Ignore `Range`: 200 with everything. */
  readonly noRange?: boolean;
  /** Break the connection after this many body bytes. */
  readonly truncateAfter?: number;
  /** Pause after this many body bytes, and never go on. */
  readonly stallAfter?: number;
  /** Wait before the headers. */
  readonly delayMs?: number;
  /** Send no `Content-Length`. */
  readonly chunked?: boolean;
  /** Pace of the body. */
  readonly bytesPerSecond?: number;
}

/** A request as it came, and how it was answered. */
export interface RecordedRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** 0 until answered. */
  status: number;
  /** Body bytes handed to the socket. */
  sentBytes: number;
  /** Whether the client left before the answer's end. */
  closedEarly: boolean;
}

/** Waits that long. */
export async function pause(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms).unref();
  await promise;
}

/** Sends a body as the quirk wants it: whole, paced, stalled or broken off. */
export async function answer(
  request: RecordedRequest,
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  content: string | Uint8Array,
  quirk: Quirk,
): Promise<void> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  request.status = status;
  const length = quirk.chunked === true ? {} : { "content-length": String(bytes.length) };
  const sent: Record<string, string> = { ...length, ...headers, ...quirk.headers };
  for (const name of quirk.omit ?? []) delete sent[name];
  response.writeHead(status, sent);
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  response.flushHeaders();
  const stopAt = Math.min(quirk.truncateAfter ?? bytes.length, quirk.stallAfter ?? bytes.length);
  const pace = quirk.bytesPerSecond;
  const stepBytes = pace === undefined ? 256 * 1024 : Math.max(1, Math.floor(pace / 50));
  for (let at = 0; at < stopAt && !response.destroyed; at += stepBytes) {
    const step = bytes.subarray(at, Math.min(at + stepBytes, stopAt));
    request.sentBytes += step.length;
    const written = Promise.withResolvers<void>();
    response.once("close", written.resolve);
    response.write(step, () => written.resolve());
    await written.promise;
    response.off("close", written.resolve);
    if (pace !== undefined) await pause((step.length * 1000) / pace);
  }
  if (quirk.stallAfter !== undefined) return;
  if (quirk.truncateAfter !== undefined && quirk.truncateAfter < bytes.length)
    response.socket?.end();
  else response.end();
}
