import type { Repository } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import type { Swarm } from "@shoal/swarm";
import type { AccessProofs } from "./access-proofs.ts";
import type { GuardedRepositories } from "./guarded-repositories.ts";
import type { Subject } from "./subject.ts";

/**
 * A swarm that learns of each repository whether it is guarded before anything of it comes into the store, and
 * has this machine's access proven where it has to be.
 */
export function createGuardedSwarm(
  swarm: Swarm,
  { guarded, proofs }: { readonly guarded: GuardedRepositories; readonly proofs: AccessProofs },
): Pick<Swarm, "resolve" | "open" | "stat"> {
  /** Of most repositories there is nothing to wait for, and a promise would cost more than to know it. */
  function isReady(repository: Repository): boolean {
    return guarded.isKnownOpen(repository) && !proofs.isNeeded(repository);
  }

  async function prepare(
    repository: Repository,
    subject: Subject,
    options: AbortOptions | undefined,
  ): Promise<void> {
    if (await guarded.learn(repository, options)) await guarded.reading(repository);
    await proofs.prove(repository, subject, options);
  }
  return {
    async resolve(repository, name, options) {
      if (!isReady(repository)) await prepare(repository, { kind: "manifest", name }, options);
      return await swarm.resolve(repository, name, options);
    },
    async open(request, options) {
      const { repository, digest } = request;
      if (!isReady(repository)) await prepare(repository, { kind: "blob", name: digest }, options);
      return await swarm.open(request, options);
    },
    async stat(request, options) {
      const { repository, digest } = request;
      if (!isReady(repository)) await prepare(repository, { kind: "blob", name: digest }, options);
      return await swarm.stat(request, options);
    },
  };
}
