import type { RegistryHost } from "@shoal/oci";
import { type Clock, createCoalescer, type Logger, keepNewest } from "@shoal/runtime";
import type { FindOptions } from "./credentials.ts";
import { type Credential, isSameLogin } from "./credential.ts";
import { type HelperAnswer, parseHelperAnswer } from "./helper-answer.ts";
import { findHelper, runHelper } from "./helper-process.ts";
import { isDockerHub } from "./settings.ts";

/** The helpers that auth files name: programs `docker-credential-X` that keep logins or make them. */
export interface CredentialHelpers {
  /** Whether the configuration allows it. */
  isAllowed(name: string): boolean;
  /** What the configuration has to say to allow it, beside those that it allows. */
  settingFor(name: string): string;
  /**
   * Asks a helper for the login at a registry, or undefined when it has none, fails or is not allowed;
   * a failure is told in the log, with ERR_CREDENTIAL_HELPER.
   * @throws the signal's reason, and nothing else
   */
  find(
    name: string,
    registry: RegistryHost,
    options?: FindOptions,
  ): Promise<Credential | undefined>;
  /** What is wrong with a helper as it was last asked. */
  failure(name: string): string | undefined;
}

export interface CredentialHelpersInit {
  /** The X of each `docker-credential-X` that may be run. @default none */
  readonly allowed?: readonly string[];
  /** `PATH`, and what the helpers are given: `process.env` outside tests. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** @default 10_000 */
  readonly timeoutMs?: number;
}

/** A helper's name goes into the path of a program. */
const NAME = /^[a-z0-9._-]+$/;
/** ECR's logins last 12 h, and a helper may hand out one that has nearly ended. */
const LOGIN_MS = 5 * 60_000;
/** After an answer without a login: somebody may be logging in. */
const NOTHING_MS = 60_000;
/** Many requests may be refused for one login: it is asked for anew once. */
const REFUSED_MS = 5000;
const MAX_REMEMBERED = 1000;
/** Any local program can name any registry: this many processes at a time at most. */
const MAX_RUNNING = 8;

interface Remembered {
  readonly credential: Credential | undefined;
  readonly askedAtMs: number;
}

export function isHelperName(name: string): boolean {
  return NAME.test(name);
}

export function createCredentialHelpers(
  components: { readonly clock: Clock; readonly logger: Logger },
  init: CredentialHelpersInit,
): CredentialHelpers {
  const { clock, logger } = components;
  const { allowed = [], env, timeoutMs = 10_000 } = init;
  const remembered = new Map<string, Remembered>();
  const failures = new Map<string, string>();
  const questions = createCoalescer<Credential | undefined>();
  const waiting: (() => void)[] = [];
  let running = 0;

  async function answerOf(
    name: string,
    registry: RegistryHost,
    signal: AbortSignal,
  ): Promise<HelperAnswer> {
    const program = await findHelper(name, env);
    if (program === undefined)
      return { kind: "unusable", reason: "it is in no folder of the daemon's PATH" };
    if (running >= MAX_RUNNING) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      const output = await runHelper(program, serverUrlOf(registry), { env, timeoutMs, signal });
      return "failure" in output
        ? { kind: "unusable", reason: output.failure }
        : parseHelperAnswer(output);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  }

  async function ask(
    name: string,
    registry: RegistryHost,
    signal: AbortSignal,
  ): Promise<Credential | undefined> {
    const askedAtMs = clock.now();
    const answer = await answerOf(name, registry, signal);
    if (answer.kind === "unusable") {
      if (failures.get(name) !== answer.reason)
        logger.warn(
          {
            helper: name,
            registry,
            code: "ERR_CREDENTIAL_HELPER",
            reason: answer.reason,
            try: `echo ${serverUrlOf(registry)} | docker-credential-${name} get`,
          },
          "a credential helper fails, and other logins are used; see why by running it as the daemon's user",
        );
      failures.set(name, answer.reason);
    } else failures.delete(name);
    const credential = answer.kind === "login" ? answer.credential : undefined;
    const key = keyOf(name, registry);
    keepNewest(remembered, key, { credential, askedAtMs }, MAX_REMEMBERED);
    return credential;
  }

  const isAllowed = (name: string): boolean => NAME.test(name) && allowed.includes(name);

  return {
    isAllowed,
    settingFor: (name) =>
      `upstream: { credentialHelpers: [${[...new Set([...allowed, name])].join(", ")}] }`,
    async find(name, registry, { refused, signal } = {}) {
      signal?.throwIfAborted();
      if (!isAllowed(name)) return undefined;
      const key = keyOf(name, registry);
      const known = remembered.get(key);
      if (known !== undefined && clock.now() - known.askedAtMs < lifetimeMs(known, refused))
        return known.credential;
      const options = signal === undefined ? {} : { signal };
      return await questions.run(key, async (work) => await ask(name, registry, work), options);
    },
    failure: (name) => failures.get(name),
  };
}

function lifetimeMs({ credential }: Remembered, refused: Credential | undefined): number {
  if (credential === undefined) return NOTHING_MS;
  return refused !== undefined && isSameLogin(credential, refused) ? REFUSED_MS : LOGIN_MS;
}

function keyOf(name: string, registry: RegistryHost): string {
  return `${name} ${isDockerHub(registry) ? "docker.io" : registry}`;
}

/** What Docker calls the registry when it asks a helper. */
function serverUrlOf(registry: RegistryHost): string {
  return isDockerHub(registry) ? "https://index.docker.io/v1/" : registry;
}
