import { homedir } from "node:os";
import type { Clock, Logger } from "@shoal/runtime";
import {
  certificateFolders,
  createAuthFileCredentials,
  createCredentialHelpers,
  createEnvironmentCredentials,
  type Credentials,
  describeLogins,
  firstOf,
  type LoginSources,
  type UpstreamInit,
} from "@shoal/upstream";
import type { Configuration, Environment } from "./configuration.ts";
import { VERSION } from "./version.ts";

export interface UpstreamSettingsComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly environment: Environment;
  /** Where people change the configuration, for messages. */
  readonly configurationFile: string | undefined;
}

/** How this machine asks registries. */
export interface UpstreamSettings {
  readonly init: UpstreamInit & { readonly credentials: Credentials };
  /** Where its logins are from, as they are now. */
  readonly logins: () => Promise<LoginSources>;
}

/** What is configured, with the logins, certificates and proxies of the daemon's user. */
export function upstreamSettings(
  { clock, logger, environment, configurationFile }: UpstreamSettingsComponents,
  { registries, upstream }: Configuration,
): UpstreamSettings {
  const { env, uid } = environment;
  const homeDir = env["HOME"] ?? homedir();
  const authFiles = { env, homeDir, uid };
  const helpers = createCredentialHelpers(
    { clock, logger },
    { allowed: upstream.credentialHelpers, env },
  );
  return {
    init: {
      userAgent: `shoal/${VERSION}`,
      registries,
      allowPrivate: upstream.allowPrivate,
      configurationFile,
      proxyEnvironment: env,
      certificateFolders: certificateFolders({ env, homeDir }),
      credentials: firstOf(
        createEnvironmentCredentials({ logger }, env),
        createAuthFileCredentials({ logger, helpers }, authFiles),
      ),
    },
    logins: async () => await describeLogins(helpers, authFiles),
  };
}
