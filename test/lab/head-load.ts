/**
 * HEADs as fast as a server answers them: `CONNECTIONS SECONDS ADDRESS:PORT PATH…`. Each connection is kept, has one
 * request under way, and asks for one path after the other, no two connections for the same at a time. Prints as JSON how many were answered 200, all in all and after a second of warming up, in
 * what time, and how long they took.
 */
import { connect } from "node:net";

const WARM_UP_MS = 1000;
const END = "\r\n\r\n";
/** As containerd asks. */
const ACCEPT =
  "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

const [connections, seconds, host, ...paths] = process.argv.slice(2) as [
  string,
  string,
  string,
  ...string[],
];
const [address, port] = host.split(":") as [string, string];
const requests = paths.map(
  (path) =>
    `HEAD ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: containerd/1.6.20\r\nAccept: ${ACCEPT}\r\n\r\n`,
);
const startMs = performance.now() + WARM_UP_MS;
const endMs = startMs + Number(seconds) * 1000;
const tookMs: number[] = [];
let answered = 0;

async function ask(_: unknown, connection: number): Promise<void> {
  const socket = connect(Number(port), address);
  socket.setNoDelay(true);
  socket.setEncoding("latin1");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let text = "";
  let sentMs = 0;
  let next = Math.floor((connection * requests.length) / Number(connections));
  const send = (): void => {
    sentMs = performance.now();
    socket.write(requests[next]!);
    next = (next + 1) % requests.length;
  };
  socket.on("connect", send);
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("the server closed the connection")));
  socket.on("data", (chunk: string) => {
    text += chunk;
    if (!text.endsWith(END)) return;
    if (!text.startsWith("HTTP/1.1 200 ")) reject(new Error(`answered: ${text}`));
    text = "";
    answered += 1;
    const nowMs = performance.now();
    if (nowMs >= startMs && nowMs < endMs) tookMs.push(nowMs - sentMs);
    if (nowMs < endMs) send();
    else resolve();
  });
  await promise;
  socket.destroy();
}

await Promise.all(Array.from({ length: Number(connections) }, ask));
tookMs.sort((a, b) => a - b);
const share = (part: number): number => tookMs[Math.floor((tookMs.length - 1) * part)]!;
console.log(
  JSON.stringify({
    heads: tookMs.length,
    answered,
    seconds: Number(seconds),
    medianMs: share(0.5),
    p99Ms: share(0.99),
  }),
);
