import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ApiClient, createApiClient, type Status } from "@shoal/api";
import type { Place } from "./lan.ts";
import { type Running, start, until } from "./processes.ts";
import { CANARY, expectNoSecrets, secrets } from "./secrets.ts";

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
  /** Its user's logins, by registry; secret wherever it may look. */
  readonly logins?: Readonly<Record<string, Login>>;
  /** More of the configuration file, in YAML. */
  readonly extra?: string;
  /** @default 127.0.0.1:5055 */
  readonly mirror?: string;
  /** State folder. @default one in `folder` */
  readonly state?: string;
  /** Modules that are loaded before it, as URLs. */
  readonly imports?: readonly string[];
}

export interface Login {
  readonly username: string;
  readonly password: string;
}

/** A line of a daemon's log. */
export type LogLine = Readonly<Record<string, unknown>> & {
  readonly msg: string;
  readonly level: string;
};

/**
 * A Shoal daemon in a machine of the lab. Its end, by `stop` or disposal, is the time to search all that it has
 * written for what must not get out; a find is thrown.
 */
export interface LabDaemon extends AsyncDisposable {
  readonly pid: number;
  readonly isRunning: boolean;
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
  if (init.token !== undefined) {
    secrets.add(init.token);
    await writeFile(tokenFile, `${init.token}\n`);
  }
  const authFile = join(folder, "auth.json");
  await writeFile(authFile, authsOf({ ...init.logins, [CANARY.registry]: CANARY }));
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
  const imports = (init.imports ?? []).flatMap((url) => ["--import", url]);
  const argv = [...(await nodeCommand()), ...imports, MAIN, "--config", configuration];
  const placed = init.place === undefined ? argv : init.place.within(argv);
  const command = ["env", `REGISTRY_AUTH_FILE=${authFile}`, ...placed];
  const api = createApiClient({ socketPath });
  let running: Running;
  let isSearched = false;

  async function search(): Promise<void> {
    if (isSearched) return;
    isSearched = true;
    await expectNoSecrets({ log: await running.output(), state });
  }

  async function begin(): Promise<void> {
    isSearched = false;
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
    get isRunning() {
      return running.isRunning;
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
    async stop() {
      await running[Symbol.asyncDispose]();
      await search();
    },
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await running[Symbol.asyncDispose]();
      await search();
    },
  };
}

/** An auth file with the logins, which are secret from now on. */
function authsOf(logins: Readonly<Record<string, Login>>): string {
  const auths = Object.entries(logins).map(([registry, { username, password }]) => {
    secrets.addLogin(username, password);
    return [registry, { auth: Buffer.from(`${username}:${password}`).toString("base64") }];
  });
  return JSON.stringify({ auths: Object.fromEntries(auths) });
}
