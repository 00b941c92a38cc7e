/**
 * The client of registries' pull side: logins and tokens, redirects, ranges with resume, back-off, and
 * the refusal of addresses that no stranger may make this machine dial.
 *
 * ```ts
 * await using upstream = createUpstream(
 *   { clock: systemClock, logger: silentLogger, metrics: noMetrics },
 *   { userAgent: "shoal/0.1.0" },
 * );
 * const { repository, tag } = parseReference("alpine:3.20");
 * const { digest, bytes } = await upstream.manifest(repository, tag!);
 * ```
 *
 * @packageDocumentation
 */
export { certificateFolders } from "./certificates.ts";
export type { UpstreamTimeouts } from "./connections.ts";
export type { Credential } from "./credential.ts";
export { createCredentialHelpers, isHelperName } from "./credential-helpers.ts";
export { describeLogins, type LoginSources } from "./login-sources.ts";
export {
  type AuthFileEnvironment,
  anonymous,
  authFilePaths,
  createAuthFileCredentials,
  type Credentials,
} from "./credentials.ts";
export { createEnvironmentCredentials, firstOf } from "./environment-credentials.ts";
export { isReadOverTls } from "./endpoints.ts";
export { isFinal, isPassing } from "./failures.ts";
export { createUpstreamMetrics, type UpstreamMetrics } from "./metrics.ts";
export { createOwnAccess, type OwnAccess } from "./own-access.ts";
export type { PullLimit } from "./pull-limit.ts";
export type { RetryPolicy } from "./retry.ts";
export type { RegistrySettings } from "./settings.ts";
export * from "./types.ts";
export { createUpstream, type UpstreamComponents, type UpstreamInit } from "./upstream.ts";
