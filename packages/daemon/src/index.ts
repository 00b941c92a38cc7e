/**
 * The daemon: the mirror for container engines, the API server, configuration, metrics, and the one place
 * where all parts are made and handed to each other.
 *
 * ```ts
 * const configuration = await loadConfiguration({ environment });
 * await using daemon = await startDaemon({ logger, environment }, configuration);
 * ```
 *
 * @packageDocumentation
 */
export { type Configuration, type Environment } from "./configuration.ts";
export { type Daemon, type DaemonComponents, startDaemon } from "./daemon.ts";
export { loadConfiguration, type LoadOptions } from "./load-configuration.ts";
