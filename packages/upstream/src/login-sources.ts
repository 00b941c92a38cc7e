import { readFile } from "node:fs/promises";
import { type AuthFile, parseAuthFile } from "./auth-file.ts";
import { type CredentialHelpers, isHelperName } from "./credential-helpers.ts";
import { type AuthFileEnvironment, authFilePaths, helperNames } from "./credentials.ts";
import { findHelper } from "./helper-process.ts";

/** Where this process looks for logins, and what it finds there; never a login. */
export interface LoginSources {
  readonly files: readonly {
    readonly path: string;
    readonly state: "read" | "missing" | "unreadable" | "broken";
  }[];
  /** The credential helpers that the files name. */
  readonly helpers: readonly {
    readonly name: string;
    readonly allowed: boolean;
    /** What the configuration has to say, where it is not allowed and could be. */
    readonly setting?: string;
    /** Absent when it is in no folder of `PATH`. */
    readonly program?: string;
    /** What was wrong when it was last asked. */
    readonly failure?: string;
  }[];
}

/** Looks at the auth files and helpers as the process that asks has them. */
export async function describeLogins(
  helpers: CredentialHelpers,
  environment: AuthFileEnvironment,
): Promise<LoginSources> {
  const files: LoginSources["files"][number][] = [];
  const names = new Set<string>();
  for (const path of new Set(authFilePaths(environment))) {
    const file = await look(path);
    files.push({ path, state: typeof file === "string" ? file : "read" });
    if (typeof file !== "string") for (const name of helperNames(file)) names.add(name);
  }
  const described = [...names].map(async (name) => {
    const allowed = helpers.isAllowed(name);
    const program = allowed ? await findHelper(name, environment.env) : undefined;
    const failure = helpers.failure(name);
    return {
      name,
      allowed,
      ...(allowed || !isHelperName(name) ? {} : { setting: helpers.settingFor(name) }),
      ...(program === undefined ? {} : { program }),
      ...(failure === undefined ? {} : { failure }),
    };
  });
  return { files, helpers: await Promise.all(described) };
}

async function look(path: string): Promise<AuthFile | "missing" | "unreadable" | "broken"> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ENOTDIR" ? "missing" : "unreadable";
  }
  try {
    return parseAuthFile(text, path);
  } catch {
    // Told in the log when its logins are wanted.
    return "broken";
  }
}
