import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createTestCertificates } from "@shoal/upstream/testing";
import type { Place } from "./lan.ts";
import { type Running, start, until } from "./processes.ts";
import { run } from "./run.ts";
import { startThrottledWay } from "./throttle.ts";

const DEFAULT_PORT = 5000;

/** A line of the registry's access log. */
export interface AccessEntry {
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

/** A real docker-registry in its place behind the uplink. */
export interface LabRegistry extends AsyncDisposable {
  readonly pid: number;
  /** `address:port`, as references name it. */
  readonly host: string;
  readonly url: string;
  /** Over TLS: the authority to trust. */
  readonly caFile?: string;
  /** Requests answered so far. */
  accesses(): Promise<AccessEntry[]>;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** This machine's own network. */
export const LOOPBACK: Place = {
  name: "here",
  address: "127.0.0.1",
  within: (argv) => [...argv],
};

export interface RegistryInit {
  /** @default 5000 */
  readonly port?: number;
  readonly tls?: boolean;
  /** What its certificate is for beside its address. @default nothing */
  readonly names?: readonly string[];
  /** A line for each request. @default true */
  readonly accessLog?: boolean;
  /** More of its configuration, in YAML. */
  readonly extra?: string;
}

export async function startRegistry(
  place: Place,
  folder: string,
  { port = DEFAULT_PORT, tls = false, names = [], accessLog = true, extra = "" }: RegistryInit = {},
): Promise<LabRegistry> {
  await mkdir(folder, { recursive: true });
  const configuration = join(folder, "registry.yml");
  const outputFile = join(folder, "registry.log");
  const host = `${place.address}:${port}`;
  const certificate = tls
    ? createTestCertificates({ parent: folder, address: place.address, names })
    : undefined;
  const url = `${tls ? "https" : "http"}://${host}`;
  const served =
    certificate === undefined
      ? ""
      : `, tls: { certificate: "${certificate.certFile}", key: "${certificate.keyFile}" }`;
  await writeFile(
    configuration,
    [
      "version: 0.1",
      `log: { level: warn, accesslog: { disabled: ${!accessLog} } }`,
      `storage: { filesystem: { rootdirectory: "${join(folder, "storage")}" }, delete: { enabled: true } }`,
      `http: { addr: "0.0.0.0:${port}", relativeurls: true${served} }`,
      extra,
      "",
    ].join("\n"),
  );
  let running: Running | undefined;

  const registry: LabRegistry = {
    host,
    url,
    ...(certificate && { caFile: certificate.caFile }),
    get pid() {
      return running?.pid ?? 0;
    },
    async accesses() {
      const text = await readFile(outputFile, "utf8");
      return [
        ...text.matchAll(/"(GET|HEAD|PUT|POST|PATCH|DELETE) ([^ ]+) HTTP\/[0-9.]+" ([0-9]{3})/g),
      ].map(([, method, path, status]) => ({
        method: method!,
        path: path!,
        status: Number(status),
      }));
    },
    async stop() {
      await running?.[Symbol.asyncDispose]();
      running = undefined;
    },
    async start() {
      running = start(place.within(["docker-registry", "serve", configuration]), { outputFile });
      await until("the registry answers", async () => {
        const trust = certificate === undefined ? [] : ["--cacert", certificate.caFile];
        // One that wants a login answers, too.
        const probe = place.within(["curl", "-sS", ...trust, "-o", "/dev/null", `${url}/v2/`]);
        return await run(probe).then(
          () => true,
          () => false,
        );
      });
    },
    [Symbol.asyncDispose]: async () => await registry.stop(),
  };
  await registry.start();
  return registry;
}

/** A registry on this machine's own loopback, behind a way that passes only so much. */
export interface LoopbackRegistry extends AsyncDisposable {
  /** Through the slow way. */
  readonly host: string;
  /** Past it. */
  readonly directUrl: string;
  readonly place: Place;
  passedBytes(): number;
}

export async function startLoopbackRegistry(
  folder: string,
  mbit: number,
): Promise<LoopbackRegistry> {
  const port = 40_000 + (process.pid % 20_000);
  const registry = await startRegistry(LOOPBACK, folder, { port });
  const way = await startThrottledWay(port, mbit);
  return {
    host: way.host,
    directUrl: registry.url,
    place: LOOPBACK,
    passedBytes: () => way.passedBytes,
    async [Symbol.asyncDispose]() {
      await way[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}
