/**
 * One TCP transfer, the measure of a link. `send PORT BYTES` gives them to the first that connects;
 * `receive ADDRESS PORT SKIP [FILE]` takes them, and with a file hashes and writes them in chunks of 256 KiB.
 * Each prints what it saw as JSON: the receiver's time begins after SKIP bytes.
 */
import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { connect, createServer } from "node:net";

const CHUNK_BYTES = 256 * 1024;
const [role, ...words] = process.argv.slice(2);

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
}

function send(port: number, totalBytes: number): void {
  const chunk = Buffer.alloc(CHUNK_BYTES, 7);
  const server = createServer((socket) => {
    server.close();
    const beganAt = cpuSeconds();
    let leftBytes = totalBytes;
    const more = (): void => {
      while (leftBytes > 0) {
        const part = chunk.subarray(0, Math.min(leftBytes, CHUNK_BYTES));
        leftBytes -= part.length;
        if (!socket.write(part)) {
          socket.once("drain", more);
          return;
        }
      }
      socket.end();
    };
    socket.on("close", () => console.log(JSON.stringify({ cpuSeconds: cpuSeconds() - beganAt })));
    more();
  });
  server.listen(port, () => console.log("ready"));
}

function receive(address: string, port: number, skipBytes: number, path: string | undefined): void {
  const file = path === undefined ? undefined : openSync(path, "w");
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  const beganAt = cpuSeconds();
  let startMs = performance.now();
  let bytes = 0;
  let filled = 0;
  const flush = (): void => {
    if (file !== undefined && filled > 0) {
      const part = chunk.subarray(0, filled);
      hash.update(part);
      writeSync(file, part);
    }
    filled = 0;
  };
  const socket = connect({
    host: address,
    port,
    onread: {
      buffer: () => chunk.subarray(filled),
      callback(lengthBytes) {
        filled += lengthBytes;
        if (bytes < skipBytes && bytes + lengthBytes >= skipBytes) startMs = performance.now();
        bytes += lengthBytes;
        if (filled === CHUNK_BYTES) flush();
        return true;
      },
    },
  });
  socket.on("end", () => {
    flush();
    hash.digest();
    if (file !== undefined) closeSync(file);
    const seconds = (performance.now() - startMs) / 1000;
    const cpu = cpuSeconds() - beganAt;
    console.log(JSON.stringify({ bytes: bytes - skipBytes, seconds, cpuSeconds: cpu }));
    socket.end();
  });
}

if (role === "send") send(Number(words[0]), Number(words[1]));
else receive(words[0]!, Number(words[1]), Number(words[2]), words[3]);
