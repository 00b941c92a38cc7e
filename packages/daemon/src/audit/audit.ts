import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { AuditStatus, LimitsChange } from "@shoal/api";
import type { Network } from "@shoal/network";
import { type AuditLog, noAuditLog } from "@shoal/runtime";
import type { Configuration } from "../configuration.ts";
import { VERSION } from "../version.ts";
import { type AuditLogComponents, createAuditLog } from "./audit-log.ts";
import { noteConfiguration } from "./configuration-changes.ts";

/** The daemon's audit log, and what the daemon itself has to record. */
export interface Audit extends AuditLog, AsyncDisposable {
  status(): AuditStatus;
  /** Records the start, and members' coming and going from now on. */
  started(network: Pick<Network, "self" | "on">, site: string | undefined): void;
}

/** Made once the store's lock is held: no two daemons write one log. */
export async function startAudit(
  components: AuditLogComponents,
  configuration: Configuration,
): Promise<Audit> {
  const { enabled, maxBytes, files } = configuration.audit;
  const folder = join(configuration.state, "audit");
  if (!enabled)
    return {
      ...noAuditLog,
      status: () => ({ state: "off" }),
      started() {},
      async [Symbol.asyncDispose]() {},
    };
  const log = createAuditLog(components, { folder, maxBytes, files });
  const members = new DisposableStack();
  let isStarted = false;
  try {
    const change = await noteConfiguration(folder, configuration);
    log.record({ kind: "configuration", by: "file", ...change });
  } catch (error) {
    components.logger.warn({ error }, "what has changed in the configuration can't be told");
  }
  return {
    record: log.record,
    status: log.state,
    started(network, site) {
      isStarted = true;
      log.record({ kind: "start", program: VERSION, peer: network.self, site });
      members.use(network.on("memberUp", (peer) => log.record({ kind: "member-up", peer })));
      members.use(network.on("memberDown", (peer) => log.record({ kind: "member-down", peer })));
    },
    async [Symbol.asyncDispose]() {
      members.dispose();
      if (isStarted) log.record({ kind: "stop" });
      await log[Symbol.asyncDispose]();
    },
  };
}

/** Records a request whose `Host` or `Origin` was refused. */
export function refusedHost(
  audit: AuditLog,
  at: "mirror" | "metrics" | "api",
): (request: IncomingMessage, host: string | undefined) => void {
  return ({ socket }, host) =>
    audit.record({ kind: "deny", at, reason: "host", who: socket.remoteAddress, what: host });
}

/** Records limits that were changed over the socket. */
export function recordLimits(audit: AuditLog, change: LimitsChange): void {
  const names = { uplinkBytesPerSecond: "uplink.limit", uplinkConnections: "uplink.connections" };
  const all = { ...names, lanUploadBytesPerSecond: "lan.uploadLimit" };
  const changed = Object.entries(all).flatMap(([key, name]) =>
    change[key as keyof LimitsChange] === undefined ? [] : [name],
  );
  audit.record({ kind: "configuration", by: "socket", changed });
}
