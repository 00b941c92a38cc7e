import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import { makeRoom } from "@shoal/runtime";

const MOST = 20_000;

/** What registries have given, to somebody without a login, of which repository. */
export interface GivenContent {
  has(repository: Repository, digest: Digest): boolean;
  add(repository: Repository, digest: Digest): void;
}

/** Keeps 20,000; the oldest go first, and the registry is asked for them once more. */
export function createGivenContent(): GivenContent {
  const given = new Set<string>();
  return {
    has: (repository, digest) => given.has(keyOf(repository, digest)),
    add(repository, digest) {
      const key = keyOf(repository, digest);
      if (given.has(key)) return;
      makeRoom(given, MOST);
      given.add(key);
    },
  };
}

function keyOf(repository: Repository, digest: Digest): string {
  return `${formatRepository(repository)}@${digest}`;
}
