/**
 * Stands before a registry and does to its answers what the repository's name says: `library/cut` and
 * `library/cut-anything` have each blob broken off. Arguments: address and port to listen on, the registry's URL.
 * Repositories that name no fault are passed through. Says `ready` when it listens.
 */
import {
  createServer,
  type IncomingMessage,
  request as ask,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from "node:http";
import { once } from "node:events";

/** Blobs up to this size, such as configurations, stay as they are. */
const SPARED_BYTES = 16 * 1024;
/** Where a byte of a wrong blob is another one. */
const WRONG_AT = 100;
/** What an answer that breaks off gives, so that the rest has to be asked for. */
const BREAK_BYTES = 256 * 1024;
const PAGE = "<!doctype html><title>Log in</title><p>Welcome to the network of this hotel.";

/** What of a blob is on its way: from where, up to where, and of how many bytes. */
interface Span {
  readonly start: number;
  readonly end: number;
  readonly totalBytes: number;
}

/** What is done to the answer of a blob. */
interface BlobFault {
  /** Where the bytes end, at the latest; the whole blob without it. */
  until?(span: Span): number;
  /** What the answer claims to be its end. @default its true end */
  claims?(span: Span): number;
  /** What comes after the last byte. @default the end */
  readonly after?: "break" | "silence";
  readonly alters?: true;
}

const half = ({ totalBytes }: Span): number => Math.floor(totalBytes / 2);
const BLOB_FAULTS: Readonly<Record<string, BlobFault>> = {
  /** Nothing comes after the half, and nothing ends. */
  stall: { until: half, after: "silence" },
  /** Nothing comes after the half: connections break. */
  cut: { until: half, after: "break" },
  /** Each answer breaks, but the next one goes on. */
  breaks: { until: ({ start }) => start + BREAK_BYTES, after: "break" },
  /** A blob is half of itself, and says so. */
  short: { until: half, claims: half },
  wrong: { alters: true },
};

const [address, port, registry] = process.argv.slice(2) as [string, string, string];

/** The answer of the registry itself, under another path where the fault wants it. */
async function answerOf(request: IncomingMessage, path: string): Promise<IncomingMessage> {
  const headers = { ...request.headers, host: new URL(registry).host };
  const passed = ask(new URL(path, registry), { method: request.method, headers });
  passed.end();
  const [answer] = (await once(passed, "response")) as [IncomingMessage];
  return answer;
}

function spanOf(answer: IncomingMessage): Span {
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers["content-range"] ?? "");
  if (range === null) {
    const totalBytes = Number(answer.headers["content-length"]);
    return { start: 0, end: totalBytes, totalBytes };
  }
  return { start: Number(range[1]), end: Number(range[2]) + 1, totalBytes: Number(range[3]) };
}

async function sendBlob(
  answer: IncomingMessage,
  response: ServerResponse,
  fault: BlobFault,
): Promise<void> {
  const span = spanOf(answer);
  const end = Math.min(span.end, fault.until?.(span) ?? span.end);
  const claimed = Math.min(span.end, fault.claims?.(span) ?? span.end);
  if (claimed <= span.start) {
    response.writeHead(416, { "content-range": `bytes */${claimed}`, "content-length": 0 }).end();
    return;
  }
  const headers: OutgoingHttpHeaders = {
    ...answer.headers,
    "content-length": claimed - span.start,
  };
  const totalBytes = fault.claims?.(span) ?? span.totalBytes;
  if (answer.statusCode === 206)
    headers["content-range"] = `bytes ${span.start}-${claimed - 1}/${totalBytes}`;
  response.writeHead(answer.statusCode!, headers);
  response.flushHeaders();
  let at = span.start;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    if (fault.alters && at <= WRONG_AT && WRONG_AT < at + chunk.length)
      chunk[WRONG_AT - at]! ^= 0xff;
    const part = chunk.subarray(0, Math.max(0, end - at));
    at += part.length;
    if (part.length > 0 && !response.write(part)) await once(response, "drain");
    if (at === end) break;
  }
  answer.destroy();
  if (end === claimed) response.end();
  else if (fault.after === "break") response.socket?.end();
}

function sendPage(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/html", "content-length": PAGE.length }).end(PAGE);
}

/** A manifest of the same length that names another layer, under the digest of the true one. */
async function sendOther(answer: IncomingMessage, response: ServerResponse): Promise<void> {
  const text = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString();
  const at = text.lastIndexOf("sha256:") + "sha256:".length;
  const digit = text[at] === "0" ? "1" : "0";
  response.writeHead(answer.statusCode!, answer.headers);
  response.end(`${text.slice(0, at)}${digit}${text.slice(at + 1)}`);
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = request.url ?? "/";
  const [, fault = "", kind = "", reference = ""] =
    /^\/v2\/library\/([a-z]+)[a-z-]*\/(manifests|blobs)\/([^?]+)/.exec(url) ?? [];
  const isTag = kind === "manifests" && !reference.includes(":");
  if (fault === `page${kind}`) {
    sendPage(response);
    return;
  }
  const moved = fault === "moves" && isTag && request.method === "GET";
  const answer = await answerOf(request, moved ? `${url}-moved` : url);
  const isAnswered = request.method === "GET" && Math.floor(answer.statusCode! / 100) === 2;
  const blobFault = kind === "blobs" ? BLOB_FAULTS[fault] : undefined;
  if (isAnswered && blobFault !== undefined && spanOf(answer).totalBytes > SPARED_BYTES)
    await sendBlob(answer, response, blobFault);
  else if (isAnswered && fault === "othermanifest" && kind === "manifests")
    await sendOther(answer, response);
  else {
    response.writeHead(answer.statusCode!, answer.headers);
    answer.pipe(response);
  }
}

const server = createServer((request, response) => {
  handle(request, response).catch(() => response.destroy());
});
server.listen(Number(port), address, () => console.log("ready"));
