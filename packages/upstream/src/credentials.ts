import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Repository } from "@shoal/oci";
import type { Logger } from "@shoal/runtime";
import { type AuthEntry, parseAuthFile } from "./auth-file.ts";
import type { Credential } from "./credential.ts";
import { isDockerHub } from "./settings.ts";

/** Where logins come from. */
export interface Credentials {
  /** The login for a repository, or undefined to ask as nobody. Never throws. */
  find(repository: Repository): Promise<Credential | undefined>;
}

export interface AuthFileEnvironment {
  /** The variables that name the files: `process.env` outside tests. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `os.homedir()` outside tests. */
  readonly homeDir: string;
  /** `process.getuid?.()`; where podman puts its file without `$XDG_RUNTIME_DIR`. */
  readonly uid?: number | undefined;
}

/**
 * The auth files in the order in which they are asked: Podman's, then Docker's.
 * containers-auth.json(5); docker login.
 */
export function authFilePaths(environment: AuthFileEnvironment): readonly string[] {
  const { env, homeDir, uid } = environment;
  const set = (name: string): string | undefined => (env[name] === "" ? undefined : env[name]);
  const explicit = set("REGISTRY_AUTH_FILE");
  const runtime =
    set("XDG_RUNTIME_DIR") ?? (uid === undefined ? undefined : `/run/containers/${uid}`);
  const runtimePath =
    set("XDG_RUNTIME_DIR") === undefined ? ["auth.json"] : ["containers", "auth.json"];
  return [
    ...(explicit === undefined ? [] : [explicit]),
    ...(runtime === undefined ? [] : [join(runtime, ...runtimePath)]),
    join(set("XDG_CONFIG_HOME") ?? join(homeDir, ".config"), "containers", "auth.json"),
    join(set("DOCKER_CONFIG") ?? join(homeDir, ".docker"), "config.json"),
  ];
}

/** Reads the logins of `docker login` and `podman login`, again whenever a file has changed. */
export function createAuthFileCredentials(
  components: { readonly logger: Logger },
  environment: AuthFileEnvironment,
): Credentials {
  const paths = authFilePaths(environment);
  const cache = new Map<string, { version: string; entries: readonly AuthEntry[] }>();

  async function entriesOf(path: string): Promise<readonly AuthEntry[]> {
    let version = "missing";
    try {
      const { mtimeMs, size, ino } = await stat(path);
      version = `${mtimeMs} ${size} ${ino}`;
      const known = cache.get(path);
      if (known?.version === version) return known.entries;
      const { entries, hasHelpers } = parseAuthFile(await readFile(path, "utf8"), path);
      if (hasHelpers)
        components.logger.debug({ file: path }, "credential helpers of an auth file are not asked");
      cache.set(path, { version, entries });
      return entries;
    } catch (error) {
      const missing = ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
      if (missing) version = "missing";
      else if (cache.get(path)?.version !== version)
        components.logger.warn(
          { file: path, code: "ERR_AUTH_FILE", reason: (error as Error).message },
          "an auth file cannot be read; its logins are not used until it is repaired",
        );
      cache.set(path, { version, entries: [] });
      return [];
    }
  }

  return {
    async find(repository) {
      for (const path of paths) {
        const found = selectEntry(await entriesOf(path), repository);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** The most specific entry: a whole repository before its parents, those before the host. Pure. */
function selectEntry(
  entries: readonly AuthEntry[],
  repository: Repository,
): Credential | undefined {
  const host = isDockerHub(repository.registry) ? "docker.io" : repository.registry;
  let scope = `${host}/${repository.name}`;
  for (;;) {
    const entry = entries.find((candidate) => candidate.scope === scope);
    if (entry !== undefined) return entry.credential;
    const slash = scope.lastIndexOf("/");
    if (slash < 0) return undefined;
    scope = scope.slice(0, slash);
  }
}

/** No logins at all. */
export const anonymous: Credentials = {
  async find() {
    return undefined;
  },
};
