import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiClient, createApiClient } from "@shoal/api";
import {
  createScriptedRegistry,
  createSecrets,
  findSecrets,
  type ScriptedRegistry,
} from "@shoal/upstream/testing";
import { afterEach, beforeEach } from "vitest";
import { type Configuration, startDaemon } from "../src/index.ts";
import { defaultConfiguration } from "../src/configuration.ts";
import { createLogger } from "../src/logging.ts";

/**
 * A daemon in this process before a scripted registry. Disposing searches its log, metrics, audit log and state
 * folder for every login and token that it or its registry was given; one that is found fails the test.
 */
export interface TestDaemon extends AsyncDisposable {
  readonly registry: ScriptedRegistry;
  readonly mirror: string;
  readonly metrics: string;
  readonly socket: string;
  readonly configuration: Configuration;
  /** All of its log, from debug up, as JSON lines. */
  readonly log: () => string;
  /** The mirror's URL of a path below `/v2/`, for the scripted registry. */
  url(path: string): string;
  /** Stops the daemon alone; its folder and registry stay. */
  stop(): Promise<void>;
}

export interface TestDaemonParts {
  /** Disposed with the daemon. @default one that does all well */
  readonly registry?: ScriptedRegistry;
  /** `auths` of the user's Docker configuration. */
  readonly auths?: Readonly<Record<string, unknown>>;
  /** What else is in it. */
  readonly dockerConfiguration?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** What else must be found nowhere. */
  readonly secrets?: readonly string[];
}

export async function createTestDaemon(
  change: Partial<Configuration> = {},
  parts: TestDaemonParts = {},
): Promise<TestDaemon> {
  const folder = await mkdtemp(join(tmpdir(), "shoal-daemon-"));
  const registry = parts.registry ?? (await createScriptedRegistry());
  if (parts.auths !== undefined || parts.dockerConfiguration !== undefined) {
    await mkdir(join(folder, ".docker"));
    const login = JSON.stringify({ auths: parts.auths, ...parts.dockerConfiguration });
    await writeFile(join(folder, ".docker/config.json"), login);
  }
  const environment = { env: { HOME: folder, ...parts.env }, uid: 0 };
  const configuration: Configuration = {
    ...defaultConfiguration(environment),
    state: join(folder, "state"),
    socket: join(folder, "shoal.sock"),
    mirror: { listen: ["127.0.0.1:0"], hosts: ["mirror.lan"] },
    metrics: { listen: ["127.0.0.1:0"], hosts: ["metrics.lan"] },
    swarm: { listen: ["127.0.0.1"], port: 0, bulkPort: 0, mdns: false, peers: [] },
    registries: { [registry.registry]: {} },
    store: { ...defaultConfiguration(environment).store, minFreeBytes: 0 },
    ...change,
  };
  const lines: string[] = [];
  const logger = createLogger({ level: "debug", format: "json" }, false, (line) => {
    lines.push(line);
  });
  const log = (): string => lines.join("");
  const daemon = await startDaemon({ logger, environment }, configuration);
  const mirror = `http://${daemon.places.mirror[0]}`;
  return {
    registry,
    mirror,
    metrics: `http://${daemon.places.metrics[0]}`,
    socket: configuration.socket,
    configuration,
    log,
    url(path) {
      const separator = path.includes("?") ? "&" : "?";
      return `${mirror}/v2/${path}${separator}ns=${registry.registry}`;
    },
    stop: async () => await daemon[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      const metrics = await fetch(`http://${daemon.places.metrics[0]}/metrics`).then(
        async (response) => await response.text(),
        () => "",
      );
      await daemon[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      const secrets = createSecrets();
      secrets.add(...registry.secrets(), ...(parts.secrets ?? []), ...loginsOf(parts.auths));
      const found = await findSecrets(secrets.known, {
        texts: { log: log(), metrics },
        folder: configuration.state,
        homes: ["site-token"],
      });
      await rm(folder, { recursive: true, force: true });
      if (found.length > 0) throw new Error(`secrets have got out: ${found.join("; ")}`);
    },
  };
}

/** A daemon with a client of its API, both new in each test. */
export function daemonForEach(): { readonly daemon: TestDaemon; readonly client: ApiClient } {
  let daemon: TestDaemon;
  let client: ApiClient;
  beforeEach(async () => {
    daemon = await createTestDaemon();
    client = createApiClient({ socketPath: daemon.socket });
  });
  afterEach(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
  });
  return {
    get daemon() {
      return daemon;
    },
    get client() {
      return client;
    },
  };
}

/** The secrets of a Docker configuration's `auths`. */
function loginsOf(auths: Readonly<Record<string, unknown>> = {}): string[] {
  return Object.values(auths).flatMap((entry) => {
    const { auth = "", identitytoken = "" } = entry as { auth?: string; identitytoken?: string };
    const password = Buffer.from(auth, "base64").toString().split(":").slice(1).join(":");
    return [
      // A name without a password, beside an identity token, is no secret.
      ...(password === "" ? [] : [auth, password]),
      ...(identitytoken === "" ? [] : [identitytoken]),
    ];
  });
}
