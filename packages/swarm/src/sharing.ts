import { type Digest, parseRegistryHost, parseRepositoryName, type Repository } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";

const REPOSITORY_CACHE_LIMIT = 1024;

/** What of this machine's content other members may have. */
export interface Sharing {
  /** Whether members may exchange what they pull from the repository. */
  mayShare(repository: Repository): boolean;
  /** The same for a repository in wire form. @throws ERR_MESSAGE */
  mayShareNamed(name: string): boolean;
  /** Whether members may have the blob: it did not first come from a repository that is not shared. */
  shares(digest: Digest): boolean;
  /** Whether the blob is known to have come from a repository that is not shared: members are not asked for it. */
  isWithheld(digest: Digest): boolean;
  /** Notes that the blob comes from a repository that is not shared. It stays so. @throws what keeps it from the disk */
  withhold(digest: Digest): Promise<void>;
}

/** Loads what was withheld before. */
export async function loadSharing(
  store: Pick<Store, "table" | "isIndexOpen" | "on">,
  mayShare: (repository: Repository) => boolean,
): Promise<Sharing> {
  const table: RecordTable<true> = store.table("withheld");
  const withheld = new Set<string>();
  /** Those of which the disk knows. */
  const written = new Set<string>();
  let isKnown = store.isIndexOpen;
  await load();
  store.on("indexOpened", () => {
    load().then(
      () => {
        isKnown = true;
      },
      // Then nothing is shared, as before.
      () => undefined,
    );
  });

  async function load(): Promise<void> {
    for await (const [digest] of table.entries()) {
      withheld.add(digest);
      written.add(digest);
    }
  }

  const named = new Map<string, boolean>();

  return {
    mayShare,
    mayShareNamed(name) {
      const known = named.get(name);
      if (known !== undefined) return known;
      const allowed = mayShare(parseWireRepository(name));
      if (named.size >= REPOSITORY_CACHE_LIMIT) named.clear();
      named.set(name, allowed);
      return allowed;
    },
    // Without knowing what was withheld before, all is.
    shares: (digest) => isKnown && !withheld.has(digest),
    isWithheld: (digest) => withheld.has(digest),
    async withhold(digest) {
      if (written.has(digest)) return;
      withheld.add(digest);
      await table.put(digest, true, { durable: true });
      written.add(digest);
    },
  };
}

/** `registry/name` as messages carry it. @throws ERR_MESSAGE */
export function parseWireRepository(name: string): Repository {
  const slash = name.indexOf("/");
  try {
    return {
      registry: parseRegistryHost(name.slice(0, Math.max(0, slash))),
      name: parseRepositoryName(name.slice(slash + 1)),
    };
  } catch (cause) {
    throw new CodedError("ERR_MESSAGE", "a member's message names no repository", { cause });
  }
}
