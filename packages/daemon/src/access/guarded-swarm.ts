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
      await prepare(repository, { kind: "manifest", name }, options);
      return await swarm.resolve(repository, name, options);
    },
    async open(request, options) {
      await prepare(request.repository, { kind: "blob", name: request.digest }, options);
      return await swarm.open(request, options);
    },
    async stat(request, options) {
      await prepare(request.repository, { kind: "blob", name: request.digest }, options);
      return await swarm.stat(request, options);
    },
  };
}
