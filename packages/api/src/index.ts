/**
 * The local API of the daemon, over its Unix socket: the schemas that both ends hold each other to,
 * and a typed client.
 *
 * ```ts
 * const socketPath = defaultSocketPath(process.env, process.getuid?.() ?? 0);
 * await using client = createApiClient({ socketPath });
 * const { id } = await client.startPull({ reference: "alpine" });
 * for await (const event of client.events({ pull: id })) {
 *   if (event.type === "pull" && isFinished(event.pull)) break;
 * }
 * ```
 *
 * @packageDocumentation
 */
export { CodedError, hasCode } from "@shoal/runtime";
export {
  type AuditFinding,
  type AuditHead,
  type AuditVerdict,
  type AuditVerifier,
  createAuditVerifier,
  formatAuditHead,
  parseAuditHead,
} from "./audit/chain.ts";
export { AUDIT_FILE, AUDIT_HEAD_FILE, auditFileNumber, auditFilesIn } from "./audit/files.ts";
export {
  AUDIT_ROOT,
  type AuditFields,
  auditHash,
  type AuditRecord,
  formatAuditRecord,
  MAX_AUDIT_LINE_BYTES,
  parseAuditRecord,
} from "./audit/record.ts";
export { type ApiClient, type ApiClientInit, createApiClient, type EventFilter } from "./client.ts";
export { codedError } from "./errors.ts";
export { formatRate, parseBytes, parseRate } from "./rate.ts";
export * from "./schema.ts";
export type { SiteClient } from "./site-client.ts";
export * from "./site-schema.ts";
export type { StoreClient } from "./store-client.ts";
export * from "./store-schema.ts";
export { defaultSocketPath, SYSTEM_SOCKET_PATH } from "./socket-path.ts";
