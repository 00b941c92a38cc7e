import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ApiClient, createApiClient, type Status } from "@shoal/api";
import type { Place } from "./lan.ts";
import { type Running, start, until } from "./processes.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
export const NODE = join(ROOT, "node_modules/.bin/node");
/** Twenty daemons that start at once on two cores take their time. */
const READY_MS = 60_000;
const MAIN = join(ROOT, "packages/daemon/src/main.ts");

export interface LabDaemonInit {
  /** Where it runs; on this machine's own network when absent. */
  readonly place?: Place;
  /** Its state, socket and log. */
  readonly folder: string;
  /** Site token; alone without one. */
  readonly token?: string | undefined;
  /** The registry's `address:port`; docker.io stands for it as well. */
  readonly registry: string;
  /** What Shoal asks in the registry's place, over plain HTTP: `address:port`. @default the registry */
  readonly endpoint?: string;
  /** PEM file of its authority; it is spoken to in plain HTTP when absent. */
  readonly registryCaFile?: string;
  /** More of the configuration file, in YAML. */
  readonly extra?: string;
  /** @default 127.0.0.1:5055 */
  readonly mirror?: string;
  /** State folder. @default one in `folder` */
  readonly state?: string;
}

/** A line of a daemon's log. */
export type LogLine = Readonly<Record<string, unknown>> & {
  readonly msg: string;
  readonly level: string;
};

/** A Shoal daemon in a machine of the lab. */
export interface LabDaemon extends AsyncDisposable {
  readonly pid: number;
  readonly api: ApiClient;
  readonly state: string;
  status(): Promise<Status>;
  /** Waits until so many members are up. */
  peersUp(count: number): Promise<void>;
  logs(): Promise<LogLine[]>;
  kill9(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** How the root package starts the daemon: its environment, Node, its flags. */
async function nodeCommand(): Promise<string[]> {
  const { scripts } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
    scripts: { start: string };
  };
  const words = scripts.start.split(" ");
  const environment = words.filter((word) => /^[A-Z_]+=/.test(word));
  return ["env", ...environment, NODE, ...words.filter((word) => word.startsWith("--"))];
}

export async function startDaemon(init: LabDaemonInit): Promise<LabDaemon> {
  const { folder, registry } = init;
  await mkdir(folder, { recursive: true });
  const state = init.state ?? join(folder, "state");
  const socketPath = join(folder, "shoal.sock");
  const outputFile = join(folder, "daemon.log");
  const configuration = join(folder, "shoal.yaml");
  const tokenFile = join(folder, "token");
  const { registryCaFile: caFile } = init;
  const trust = caFile === undefined ? "plainHttp: true" : `caFile: ${caFile}`;
  const scheme = caFile === undefined || init.endpoint !== undefined ? "http" : "https";
  const endpoint = `endpoint: "${scheme}://${init.endpoint ?? registry}"`;
  if (init.token !== undefined) await writeFile(tokenFile, `${init.token}\n`);
  await writeFile(
    configuration,
    [
      `state: ${state}`,
      `socket: ${socketPath}`,
      `mirror: { listen: ["${init.mirror ?? "127.0.0.1:5055"}"] }`,
      "log: { level: debug, format: json }",
      `site: { tokenFile: ${tokenFile} }`,
      // A lab is not refused room by how full the disk of its host is.
      init.extra?.includes("store:") === true ? "" : "store: { minFreeBytes: 268435456 }",
      // Last of what is made here, so that what is added may go on with them.
      "registries:",
      `  "${registry}": { ${init.endpoint === undefined ? "" : `${endpoint}, `}${trust} }`,
      `  docker.io: { ${endpoint}, ${trust} }`,
      init.extra ?? "",
      "",
    ].join("\n"),
  );
  const argv = [...(await nodeCommand()), MAIN, "--config", configuration];
  const command = init.place === undefined ? argv : init.place.within(argv);
  const api = createApiClient({ socketPath });
  let running: Running;

  async function begin(): Promise<void> {
    running = start(command, { outputFile });
    await until(
      "the daemon answers",
      async () => {
        if (!running.isRunning)
          throw new Error(`the daemon ended: ${(await running.output()).slice(-2000)}`);
        return await api.status().then(
          () => true,
          () => false,
        );
      },
      READY_MS,
    );
  }

  await begin();
  return {
    get pid() {
      return running.pid;
    },
    api,
    state,
    status: async () => await api.status(),
    async peersUp(count) {
      const enough = async (): Promise<boolean> => (await api.status()).peersUp >= count;
      await until(`${count} peers are up`, enough, READY_MS);
    },
    async logs() {
      const lines = (await running.output()).split("\n").filter((line) => line.startsWith("{"));
      return lines.flatMap((line) => {
        try {
          return [JSON.parse(line) as LogLine];
        } catch {
          return [];
        }
      });
    },
    async kill9() {
      running.kill("SIGKILL");
      await running.exited;
    },
    restart: begin,
    stop: async () => await running[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await running[Symbol.asyncDispose]();
    },
  };
}
