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
export { type ApiClient, type ApiClientInit, createApiClient, type EventFilter } from "./client.ts";
export { codedError } from "./errors.ts";
export { formatRate, parseBytes, parseRate } from "./rate.ts";
export * from "./schema.ts";
export type { StoreClient } from "./store-client.ts";
export * from "./store-schema.ts";
export { defaultSocketPath, SYSTEM_SOCKET_PATH } from "./socket-path.ts";
