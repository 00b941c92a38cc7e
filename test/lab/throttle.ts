import { createServer, connect, type AddressInfo } from "node:net";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";

/** A way to a TCP port that passes only so much, all connections together. */
export interface ThrottledWay extends AsyncDisposable {
  /** `address:port` */
  readonly host: string;
  /** Bytes that have come back through it. */
  readonly passedBytes: number;
}

/** Stands in for an uplink where there are no network namespaces. */
export async function startThrottledWay(targetPort: number, mbit: number): Promise<ThrottledWay> {
  const bytesPerMs = (mbit * 1_000_000) / 8 / 1000;
  let freeAtMs = performance.now();
  let passedBytes = 0;

  const shaped = (): Transform =>
    new Transform({
      async transform(chunk: Buffer, _encoding, callback) {
        const nowMs = performance.now();
        freeAtMs = Math.max(freeAtMs, nowMs) + chunk.length / bytesPerMs;
        passedBytes += chunk.length;
        if (freeAtMs - nowMs > 1) await delay(freeAtMs - nowMs);
        callback(null, chunk);
      },
    });
  const server = createServer((client) => {
    const target = connect(targetPort, "127.0.0.1");
    // What the registry has sent takes its time after the registry has closed: only the way back ends both.
    client.pipe(target, { end: false });
    target.on("error", () => undefined);
    client.on("error", () => undefined);
    pipeline(target, shaped(), client)
      .catch(() => client.destroy())
      .finally(() => target.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get passedBytes() {
      return passedBytes;
    },
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}
