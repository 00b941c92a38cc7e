import { formatRepository, type RegistryHost, type Repository } from "@shoal/oci";
import { type AbortOptions, type Clock, type Logger, keepNewest } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";
import type { OwnAccess } from "@shoal/upstream";

/** Whether there is a login is looked up again after this long: people log in and out. Milliseconds. */
const LEARNED_MS = 5000;
/** What a registry gives to strangers is taken for everybody's for so long. Milliseconds. */
const OPEN_MS = 24 * 3600 * 1000;
const MOST = 10_000;

/** The repositories that this machine reads by a login or a certificate of its own, as far as strangers can't. */
export interface GuardedRepositories {
  /** Finds out about a repository; one whose login or certificate can't be read counts as guarded. Throws the signal's reason. */
  learn(repository: Repository, options?: AbortOptions): Promise<boolean>;
  /** Whether it was found out lately that it is not, as of most repositories: then nothing has to be waited for. */
  isKnownOpen(repository: Repository): boolean;
  /** What is known of it. */
  isGuarded(repository: Repository): boolean;
  /** Whether anything was ever read by a login of this machine. */
  readonly isAny: boolean;
  /** Whether something of the registry was. */
  hasReadOf(registry: RegistryHost): boolean;
  /** It is about to be read by this machine's login: it stays guarded when that login is gone. */
  reading(repository: Repository): Promise<void>;
  /** The registry has given of it to somebody without a login. */
  opened(repository: Repository): void;
}

/** Loads what was read by a login before. */
export async function loadGuardedRepositories(components: {
  readonly store: Pick<Store, "table" | "on">;
  readonly access: OwnAccess;
  readonly clock: Clock;
  readonly logger: Logger;
}): Promise<GuardedRepositories> {
  const { access, clock, logger } = components;
  const table: RecordTable<true> = components.store.table("guarded");
  const noted = new Set<string>();
  const load = async (): Promise<void> => {
    for await (const [name] of table.entries()) noted.add(name);
  };
  await load();
  components.store.on("indexOpened", () => {
    load().catch((error: unknown) => {
      logger.warn({ error }, "which repositories a login opens could not be read");
    });
  });
  const learned = new Map<string, { readonly guarded: boolean; readonly atMs: number }>();
  const openUntilMs = new Map<string, number>();

  const isOpen = (name: string): boolean => (openUntilMs.get(name) ?? 0) > clock.now();

  return {
    get isAny() {
      return noted.size > 0;
    },
    hasReadOf: (registry) => [...noted].some((name) => name.startsWith(`${registry}/`)),
    async learn(repository, options) {
      const name = formatRepository(repository);
      if (isOpen(name)) return false;
      if (noted.has(name)) return true;
      const last = learned.get(name);
      if (last !== undefined && clock.now() - last.atMs < LEARNED_MS) return last.guarded;
      const guarded = await access.has(repository, options).catch((error: unknown) => {
        options?.signal?.throwIfAborted();
        logger.debug({ error, repository: name }, "what opens a repository could not be found out");
        return true;
      });
      keepNewest(learned, name, { guarded, atMs: clock.now() }, MOST);
      return guarded;
    },
    isKnownOpen(repository) {
      const last = learned.get(formatRepository(repository));
      return last !== undefined && !last.guarded && clock.now() - last.atMs < LEARNED_MS;
    },
    isGuarded(repository) {
      const name = formatRepository(repository);
      return !isOpen(name) && (noted.has(name) || learned.get(name)?.guarded === true);
    },
    async reading(repository) {
      const name = formatRepository(repository);
      if (noted.has(name)) return;
      noted.add(name);
      learned.delete(name);
      try {
        await table.put(name, true, { durable: true });
      } catch (error) {
        logger.warn({ error }, "that a login opens a repository could not be noted");
      }
    },
    opened(repository) {
      const name = formatRepository(repository);
      keepNewest(openUntilMs, name, clock.now() + OPEN_MS, MOST);
    },
  };
}
