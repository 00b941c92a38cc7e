import { type Digest, formatRepository, type Repository, type Tag } from "@shoal/oci";
import {
  type AbortOptions,
  type AuditLog,
  type Clock,
  createCoalescer,
  hasCode,
  type Logger,
  keepNewest,
} from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { askOrFallBack } from "../fall-back.ts";
import { askFor, type Subject } from "./subject.ts";

export interface AccessProofsInit {
  /** A proof is not asked for again for this long. Milliseconds. */
  readonly provenMs: number;
  /** With the registry out of reach, a proof holds for this long. Milliseconds. */
  readonly graceMs: number;
  /** Repositories of which this machine has to prove that it may read them. */
  readonly provesAccess: (repository: Repository) => boolean;
}

/** Proofs that this machine may read a repository, by the registry's own answers to it. */
export interface AccessProofs {
  /** Whether this machine has to prove that it may read the repository. */
  isNeeded(repository: Repository): boolean;
  /**
   * Returns when the registry has lately given of the repository to this machine, or has not refused and can't be
   * asked. Asks for what is wanted, or for what was given last. @throws what Upstream throws, where it refuses
   */
  prove(repository: Repository, wanted: Subject, options?: AbortOptions): Promise<void>;
}

interface Proof {
  /** The manifest that was given last. */
  readonly name?: Tag | Digest | undefined;
  /** By the wall clock: it outlives the process. */
  readonly atMs: number;
}

const MOST = 10_000;
/** Out of reach, it is not asked again for this long. Milliseconds. */
const REST_MS = 10_000;
const REFUSALS = [
  "ERR_UPSTREAM_NOT_FOUND",
  "ERR_UPSTREAM_UNAUTHORIZED",
  "ERR_UPSTREAM_DENIED",
] as const;

/** Loads what was proven before. */
export async function loadAccessProofs(
  components: {
    readonly store: Pick<Store, "table" | "on">;
    readonly upstream: Pick<Upstream, "headManifest" | "manifest" | "blob" | "tags">;
    readonly audit: AuditLog;
    readonly clock: Clock;
    readonly logger: Logger;
  },
  init: AccessProofsInit,
): Promise<AccessProofs> {
  const { upstream, audit, clock, logger } = components;
  const table: RecordTable<Proof> = components.store.table("proofs");
  const proofs = new Map<string, Proof>();
  const load = async (): Promise<void> => {
    for await (const [key, proof] of table.entries()) if (!proofs.has(key)) proofs.set(key, proof);
  };
  await load();
  components.store.on("indexOpened", () => {
    load().catch((error: unknown) => {
      logger.warn({ error }, "proofs of access could not be read");
    });
  });
  /** By the monotonic clock: a wall clock that is put back makes nothing fresh again. */
  const freshUntilMs = new Map<string, number>();
  const questions = createCoalescer<void>();

  function rest(key: string, forMs: number): void {
    keepNewest(freshUntilMs, key, clock.now() + forMs, MOST);
  }

  async function keep(key: string, proof: Proof): Promise<void> {
    keepNewest(proofs, key, proof, MOST);
    rest(key, init.provenMs);
    await table.put(key, proof);
  }

  async function forget(key: string): Promise<void> {
    freshUntilMs.delete(key);
    if (proofs.delete(key)) await table.delete(key);
  }

  /** Asks for one after the other until something is given. */
  async function ask(
    repository: Repository,
    subjects: readonly Subject[],
    options: AbortOptions,
  ): Promise<void> {
    const key = formatRepository(repository);
    let refusal: unknown;
    for (const subject of subjects)
      try {
        await askFor(upstream, repository, subject, options);
        const name = subject.kind === "manifest" ? subject.name : proofs.get(key)?.name;
        await keep(key, { name, atMs: clock.wallNow() }).catch((error: unknown) => {
          logger.warn({ error }, "a proof of access could not be kept");
        });
        return;
      } catch (error) {
        if (!hasCode(error, ...REFUSALS)) throw error;
        // What is wanted may be missing; what was given before may be deleted.
        refusal ??= error;
      }
    await forget(key);
    const { registry } = repository;
    audit.record({ kind: "deny", at: "upstream", reason: "private", who: registry, what: key });
    throw refusal;
  }

  async function renew(
    repository: Repository,
    wanted: Subject,
    signal: AbortSignal,
  ): Promise<void> {
    const key = formatRepository(repository);
    const last = proofs.get(key);
    const known: Subject[] =
      last?.name === undefined ? [] : [{ kind: "manifest", name: last.name }];
    const subjects = wanted.kind === "manifest" ? [wanted, ...known] : [...known, wanted];
    const isWithin = last !== undefined && Math.abs(clock.wallNow() - last.atMs) <= init.graceMs;
    const useOlder = (error: unknown): void => {
      rest(key, Math.min(REST_MS, init.provenMs));
      logger.info({ error, repository: key }, "an older proof of access has to do");
    };
    await askOrFallBack(
      clock,
      async (limited) => await ask(repository, subjects, { signal: limited }),
      isWithin ? useOlder : undefined,
      signal,
    );
  }

  return {
    isNeeded: init.provesAccess,
    async prove(repository, wanted, options = {}) {
      if (!init.provesAccess(repository)) return;
      const key = formatRepository(repository);
      if ((freshUntilMs.get(key) ?? 0) > clock.now()) return;
      const what = wanted.kind === "tags" ? "" : wanted.name;
      await questions.run(
        `${key} ${wanted.kind} ${what}`,
        async (signal) => await renew(repository, wanted, signal),
        options,
      );
    },
  };
}
