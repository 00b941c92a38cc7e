import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, silentLogger } from "@shoal/runtime";
import { createScriptedRegistry, type ScriptedRegistry } from "@shoal/upstream/testing";
import { type Configuration, startDaemon } from "../src/index.ts";
import { defaultConfiguration } from "../src/configuration.ts";

/** A daemon in this process before a scripted registry. */
export interface TestDaemon extends AsyncDisposable {
  readonly registry: ScriptedRegistry;
  readonly mirror: string;
  readonly metrics: string;
  readonly socket: string;
  readonly configuration: Configuration;
  /** The mirror's URL of a path below `/v2/`, for the scripted registry. */
  url(path: string): string;
  /** Stops the daemon alone; its folder and registry stay. */
  stop(): Promise<void>;
}

export interface TestDaemonParts {
  /** Disposed with the daemon. @default one that does all well */
  readonly registry?: ScriptedRegistry;
  readonly logger?: Logger;
  /** `auths` of the user's Docker configuration. */
  readonly auths?: Readonly<Record<string, unknown>>;
  /** What else is in it. */
  readonly dockerConfiguration?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
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
  const daemon = await startDaemon(
    { logger: parts.logger ?? silentLogger, environment },
    configuration,
  );
  const mirror = `http://${daemon.places.mirror[0]}`;
  return {
    registry,
    mirror,
    metrics: `http://${daemon.places.metrics[0]}`,
    socket: configuration.socket,
    configuration,
    url(path) {
      const separator = path.includes("?") ? "&" : "?";
      return `${mirror}/v2/${path}${separator}ns=${registry.registry}`;
    },
    stop: async () => await daemon[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
