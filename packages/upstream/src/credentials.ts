import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Repository } from "@shoal/oci";
import type { AbortOptions, Logger } from "@shoal/runtime";
import { type AuthEntry, type AuthFile, parseAuthFile } from "./auth-file.ts";
import type { Credential } from "./credential.ts";
import { type CredentialHelpers, isHelperName } from "./credential-helpers.ts";
import { isDockerHub } from "./settings.ts";

export interface FindOptions extends AbortOptions {
  /** A login that has just been refused: where it was remembered, it is asked for anew. */
  readonly refused?: Credential;
}

/** Where logins come from. */
export interface Credentials {
  /** The login for a repository, or undefined to ask as nobody. Throws the signal's reason alone. */
  find(repository: Repository, options?: FindOptions): Promise<Credential | undefined>;
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

const EMPTY: AuthFile = { entries: [], helpers: new Map(), store: undefined };

/**
 * Reads the logins of `docker login` and `podman login`, again whenever a file has changed, and asks the
 * helpers that the files name, if they are allowed.
 */
export function createAuthFileCredentials(
  components: { readonly logger: Logger; readonly helpers: CredentialHelpers },
  environment: AuthFileEnvironment,
): Credentials {
  const { logger, helpers } = components;
  const paths = authFilePaths(environment);
  const cache = new Map<string, { version: string; file: AuthFile }>();
  const toldOf = new Set<string>();

  async function read(path: string): Promise<AuthFile> {
    let version = "missing";
    try {
      const { mtimeMs, size, ino } = await stat(path);
      version = `${mtimeMs} ${size} ${ino}`;
      const known = cache.get(path);
      if (known?.version === version) return known.file;
      const file = parseAuthFile(await readFile(path, "utf8"), path);
      for (const name of helperNames(file)) if (!helpers.isAllowed(name)) tell(path, name);
      cache.set(path, { version, file });
      return file;
    } catch (error) {
      const missing = ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
      if (missing) version = "missing";
      else if (cache.get(path)?.version !== version)
        logger.warn(
          { file: path, code: "ERR_AUTH_FILE", reason: (error as Error).message },
          "an auth file cannot be read; its logins are not used until it is repaired",
        );
      cache.set(path, { version, file: EMPTY });
      return EMPTY;
    }
  }

  function tell(path: string, name: string): void {
    if (toldOf.has(name)) return;
    toldOf.add(name);
    const fields = { file: path, code: "ERR_CREDENTIAL_HELPER" };
    if (isHelperName(name))
      logger.warn(
        { ...fields, helper: name, setting: helpers.settingFor(name) },
        "an auth file names a credential helper, which is not asked until the setting allows it",
      );
    else logger.warn(fields, "an auth file names a credential helper by what can't be its name");
  }

  return {
    async find(repository, options) {
      const host = isDockerHub(repository.registry) ? "docker.io" : repository.registry;
      for (const path of paths) {
        const file = await read(path);
        const helper = file.helpers.get(host) ?? file.store ?? "";
        const found =
          (helper === "" ? undefined : await helpers.find(helper, repository.registry, options)) ??
          selectEntry(file.entries, repository);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** The helpers that a file names. */
export function helperNames({ helpers, store }: AuthFile): ReadonlySet<string> {
  const names = [...helpers.values(), store ?? ""];
  return new Set(names.filter((name) => name !== ""));
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
