import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import type { RecordTable, Store } from "@shoal/store";
import { parseWireRepository } from "./sharing.ts";

/** Which repositories are not everybody's. */
export interface Privacy {
  /** Finds out about a repository, before something of it comes into the store. @default there is nothing to find out */
  learn?(repository: Repository): Promise<void>;
  /** Whether what comes from the repository is to be given under the names of repositories that have it alone. */
  isPrivate(repository: Repository): boolean;
  /** Whether that holds towards members, too: each of them proves to the registry that it may read. */
  provesAccess(repository: Repository): boolean;
}

/** A digest of this many private repositories is asked for at the registry under the name of each further one. */
const MOST_NAMES = 16;

/**
 * From which private repositories digests are known. A digest is the same under every name: who may not read a
 * repository must not get what is in it by naming another one.
 */
export interface Origins {
  /** A manifest or blob is about to come into the store, on the word of the repository. @throws what keeps it from the disk */
  arriving(digest: Digest, repository: Repository): Promise<void>;
  /** Whether it is known from other, private repositories alone: under this name it must look as if it weren't here. */
  hides(digest: Digest, repository: Repository): boolean;
  /** The same towards members, for a repository in wire form. @throws ERR_MESSAGE */
  hidesFromMembers(digest: Digest, repository: string): boolean;
  /** The registry has said that the repository has it. */
  confirmed(digest: Digest, repository: Repository): Promise<void>;
}

/** Loads what was noted before. */
export async function loadOrigins(
  store: Pick<Store, "table" | "stat" | "on" | "isIndexOpen">,
  privacy: Privacy,
): Promise<Origins & Disposable> {
  const table: RecordTable<readonly string[]> = store.table("origins");
  const known = new Map<Digest, ReadonlyMap<string, Repository>>();
  const namesOf = (names: readonly string[]): ReadonlyMap<string, Repository> =>
    new Map(names.map((name) => [name, parseWireRepository(name)]));
  /** What the registry has said while what was noted before can't be read: digest and name. */
  const confirmedNow = new Set<string>();
  let isKnown = store.isIndexOpen;
  await load();
  const opened = store.on("indexOpened", () => {
    load().then(
      () => {
        isKnown = true;
        confirmedNow.clear();
      },
      // Then all that is here is hidden, as before.
      () => undefined,
    );
  });

  async function load(): Promise<void> {
    for await (const [digest, names] of table.entries())
      known.set(
        digest as Digest,
        namesOf([...new Set([...names, ...(known.get(digest as Digest)?.keys() ?? [])])]),
      );
  }

  async function add(digest: Digest, repository: Repository): Promise<void> {
    const names = [...(known.get(digest)?.keys() ?? [])];
    const name = formatRepository(repository);
    if (names.includes(name) || names.length >= MOST_NAMES) return;
    names.push(name);
    known.set(digest, namesOf(names));
    await table.put(digest, names, { durable: true });
  }
  async function forget(digest: Digest): Promise<void> {
    if (known.delete(digest)) await table.delete(digest);
  }
  const removed = store.on("removed", ({ digest }) => {
    // What can't be taken away now is asked for at the registry once more than it need be.
    forget(digest).catch(() => undefined);
  });

  return {
    async arriving(digest, repository) {
      await privacy.learn?.(repository);
      if (!privacy.isPrivate(repository)) return;
      // What is here already, and is nobody's secret, becomes none.
      if (!known.has(digest) && store.stat(digest) !== undefined) return;
      await add(digest, repository);
    },
    hides(digest, repository) {
      const names = known.get(digest);
      if (!isKnown && names === undefined)
        return (
          store.stat(digest) !== undefined &&
          !confirmedNow.has(`${digest} ${formatRepository(repository)}`)
        );
      if (names === undefined || names.has(formatRepository(repository))) return false;
      return [...names.values()].every((name) => privacy.isPrivate(name));
    },
    hidesFromMembers(digest, repository) {
      const names = known.get(digest);
      if (names === undefined || names.has(repository)) return false;
      return [...names.values()].every((name) => privacy.provesAccess(name));
    },
    async confirmed(digest, repository) {
      if (!isKnown) confirmedNow.add(`${digest} ${formatRepository(repository)}`);
      if (!known.has(digest)) return;
      if (privacy.isPrivate(repository)) await add(digest, repository);
      else await forget(digest);
    },
    [Symbol.dispose]() {
      removed[Symbol.dispose]();
      opened[Symbol.dispose]();
    },
  };
}
