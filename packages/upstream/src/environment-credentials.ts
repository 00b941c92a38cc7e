import { parseRegistryHost, type RegistryHost } from "@shoal/oci";
import type { Logger } from "@shoal/runtime";
import type { Credential } from "./credential.ts";
import type { Credentials } from "./credentials.ts";

const PREFIX = "SHOAL_REGISTRY_AUTH_";

/**
 * Logins from variables of the environment, for machines on which nobody logs in. `SHOAL_REGISTRY_AUTH_` is
 * followed by the registry's host, a dot written `_`, a dash `__`, the colon before a port `___`; the value
 * is `user:password`, or an identity token. They are read once, as an environment does not change.
 */
export function createEnvironmentCredentials(
  components: { readonly logger: Logger },
  env: Readonly<Record<string, string | undefined>>,
): Credentials {
  const logins = new Map<RegistryHost, Credential>();
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith(PREFIX) || value === undefined || value === "") continue;
    const registry = hostOfVariable(variable.slice(PREFIX.length));
    const credential = parseLogin(value);
    if (registry !== undefined && credential !== undefined) logins.set(registry, credential);
    else
      components.logger.warn(
        { variable, code: "ERR_AUTH_VARIABLE" },
        registry === undefined
          ? "a variable with a login names no registry; write its host with _ for a dot, __ for a dash, ___ before a port"
          : "a variable with a login is not used; write user:password or an identity token",
      );
  }
  return {
    async find({ registry }) {
      return logins.get(registry);
    },
  };
}

/**
 * The host that the end of a variable's name stands for. No two hosts have one name, so that no stranger's
 * host can be given the login of another. Pure.
 */
export function hostOfVariable(name: string): RegistryHost | undefined {
  const host = name.replace(/_+/g, (run) => {
    if (run.length === 1) return ".";
    if (run.length === 3) return ":";
    return run.length % 2 === 0 ? "-".repeat(run.length / 2) : run;
  });
  try {
    return parseRegistryHost(host);
  } catch {
    return undefined;
  }
}

function parseLogin(value: string): Credential | undefined {
  const colon = value.indexOf(":");
  const [username, password] = [value.slice(0, colon), value.slice(colon + 1)];
  if (colon < 0)
    // A token goes into a form or a header: what can't be part of one is a mistake, such as a line's end.
    return /^[\x21-\x7e]+$/.test(value)
      ? { kind: "identity-token", username: "<token>", token: value }
      : undefined;
  return username === "" || password === "" ? undefined : { kind: "basic", username, password };
}

/** Asks each for a login, in this order. */
export function firstOf(...all: readonly Credentials[]): Credentials {
  return {
    async find(repository, options) {
      for (const credentials of all) {
        const found = await credentials.find(repository, options);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}
