import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Place } from "./lan.ts";
import { start, until } from "./processes.ts";
import { run } from "./run.ts";

const PORT = 3128;

/** A real HTTP proxy, tinyproxy, for the machines of the LAN. */
export interface HttpProxy extends AsyncDisposable {
  readonly url: string;
  /** What it was asked for: `CONNECT host:port`, `GET http://…`. */
  asked(): Promise<string[]>;
}

export async function startHttpProxy(place: Place, folder: string): Promise<HttpProxy> {
  await mkdir(folder, { recursive: true });
  const configuration = join(folder, "tinyproxy.conf");
  const lines = [`Listen ${place.address}`, `Port ${PORT}`, "LogLevel Connect", "MaxClients 100"];
  await writeFile(configuration, `${lines.join("\n")}\n`);
  const argv = place.within(["tinyproxy", "-d", "-c", configuration]);
  const running = start(argv, { outputFile: join(folder, "tinyproxy.log") });
  const url = `http://${place.address}:${PORT}`;
  await until("the proxy answers", async () => {
    if (!running.isRunning) throw new Error(`the proxy ended: ${await running.output()}`);
    return await run(place.within(["curl", "-sS", "-o", "/dev/null", url])).then(
      () => true,
      () => false,
    );
  });
  return {
    url,
    async asked() {
      const found = (await running.output()).matchAll(
        /Request \([^)]*\): (CONNECT \S+|[A-Z]+ http:\S+) HTTP/g,
      );
      return [...found].map(([, what]) => what!);
    },
    [Symbol.asyncDispose]: async () => await running[Symbol.asyncDispose](),
  };
}
