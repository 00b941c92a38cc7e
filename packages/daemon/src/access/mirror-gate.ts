import type { IncomingMessage } from "node:http";
import { type DistributionRequest, formatRepository, type Repository } from "@shoal/oci";
import { type AbortOptions, type AuditLog, hasCode } from "@shoal/runtime";
import type { Upstream } from "@shoal/upstream";
import type { AccessProofs } from "./access-proofs.ts";
import type { IdentifyCaller } from "./callers.ts";
import type { GuardedRepositories } from "./guarded-repositories.ts";
import { askFor, type Subject } from "./subject.ts";

/** What the mirror is asked for. */
type AskedOf = Extract<DistributionRequest, { kind: "manifest" | "blob" | "tags" | "referrers" }>;

/**
 * Lets a request to the mirror pass, at once or when the promise resolves, or throws what the registry answers to
 * strangers: who may not read a repository hears of it what they would hear from the registry itself, in the same
 * time.
 */
export type MirrorGate = (
  request: IncomingMessage,
  repository: Repository,
  asked: AskedOf,
  options: AbortOptions,
) => Promise<void> | undefined;

export function createMirrorGate(components: {
  readonly guarded: GuardedRepositories;
  readonly proofs: AccessProofs;
  readonly identify: IdentifyCaller;
  /** Asks registries without any login. */
  readonly nobody: Pick<Upstream, "headManifest" | "manifest" | "blob" | "tags">;
  readonly audit: AuditLog;
}): MirrorGate {
  const { guarded, proofs, identify, nobody, audit } = components;

  async function admit(
    request: IncomingMessage,
    repository: Repository,
    asked: AskedOf,
    options: AbortOptions,
  ): Promise<void> {
    if (!(await guarded.learn(repository, options))) return;
    const caller = await identify(request);
    if (caller.mayReadPrivate) {
      await guarded.reading(repository);
      return;
    }
    try {
      await askFor(nobody, repository, subjectOf(asked), options);
    } catch (error) {
      if (hasCode(error, ...REFUSALS))
        audit.record({
          kind: "deny",
          at: "mirror",
          reason: "private",
          who: caller.user === undefined ? request.socket.remoteAddress : `uid ${caller.user}`,
          what: formatRepository(repository),
        });
      throw error;
    }
    guarded.opened(repository);
  }

  async function check(
    request: IncomingMessage,
    repository: Repository,
    asked: AskedOf,
    options: AbortOptions,
  ): Promise<void> {
    await admit(request, repository, asked, options);
    // What is kept of lists has not come by the swarm, which has manifests and blobs proven.
    if (asked.kind === "tags" || asked.kind === "referrers")
      await proofs.prove(repository, { kind: "tags" }, options);
  }

  // Of most repositories there is nothing to wait for, and a promise would cost more than to know it.
  return (request, repository, asked, options) =>
    guarded.isKnownOpen(repository) && !proofs.isNeeded(repository)
      ? undefined
      : check(request, repository, asked, options);
}

const REFUSALS = [
  "ERR_UPSTREAM_UNAUTHORIZED",
  "ERR_UPSTREAM_DENIED",
  "ERR_UPSTREAM_NOT_FOUND",
] as const;

function subjectOf(asked: AskedOf): Subject {
  switch (asked.kind) {
    case "manifest":
      return { kind: "manifest", name: asked.reference };
    case "blob":
      return { kind: "blob", name: asked.digest };
    case "tags":
    case "referrers":
      // Many registries know no referrers, and answer 404 of them to everybody.
      return { kind: "tags" };
  }
}
