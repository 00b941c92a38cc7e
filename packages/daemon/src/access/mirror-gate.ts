import type { IncomingMessage } from "node:http";
import {
  type Digest,
  type DistributionRequest,
  formatRepository,
  isDigest,
  type RegistryHost,
  type Repository,
} from "@shoal/oci";
import { type AbortOptions, type AuditLog, hasCode } from "@shoal/runtime";
import type { Swarm } from "@shoal/swarm";
import type { Upstream } from "@shoal/upstream";
import type { AccessProofs } from "./access-proofs.ts";
import type { Caller, IdentifyCaller } from "./callers.ts";
import type { GivenContent } from "./given-content.ts";
import type { GuardedRepositories } from "./guarded-repositories.ts";
import { askFor, type Subject } from "./subject.ts";

/** What the mirror is asked for. */
type AskedOf = Extract<DistributionRequest, { kind: "manifest" | "blob" | "tags" | "referrers" }>;

/** How a request that was let through is to be answered. */
export interface Passage {
  /** What is not here comes from the registry alone: no member is asked. */
  readonly alone: boolean;
}

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
) => Promise<Passage> | undefined;

export function createMirrorGate(components: {
  readonly guarded: GuardedRepositories;
  readonly proofs: AccessProofs;
  readonly identify: IdentifyCaller;
  /** Asks registries without any login. */
  readonly nobody: Pick<Upstream, "headManifest" | "manifest" | "blob" | "tags">;
  readonly swarm: Pick<Swarm, "holds">;
  readonly given: GivenContent;
  /** Whether a registry is believed that says that it has something. */
  readonly believes: (registry: RegistryHost) => boolean;
  readonly audit: AuditLog;
}): MirrorGate {
  const { guarded, proofs, identify, nobody, swarm, given, audit } = components;

  const isBelieved = ({ registry }: Repository): boolean =>
    components.believes(registry) || guarded.hasReadOf(registry);

  /** Whether members might give, by a digest or a name that leads to one, what a login of this machine opens. */
  function mayLeak(repository: Repository, asked: AskedOf): boolean {
    if (!guarded.isAny || asked.kind === "tags" || asked.kind === "referrers") return false;
    const digest = digestOf(asked);
    if (digest !== undefined && swarm.holds(digest, repository)) return false;
    if (!isBelieved(repository)) return true;
    return digest !== undefined && !given.has(repository, digest);
  }

  async function askAsNobody(
    request: IncomingMessage,
    caller: Caller,
    repository: Repository,
    asked: AskedOf,
    options: AbortOptions,
  ): Promise<void> {
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
    const digest = digestOf(asked);
    if (digest !== undefined) given.add(repository, digest);
  }

  async function admit(
    request: IncomingMessage,
    repository: Repository,
    asked: AskedOf,
    options: AbortOptions,
  ): Promise<Passage> {
    const isGuarded = await guarded.learn(repository, options);
    if (!isGuarded && !mayLeak(repository, asked)) return WITH_MEMBERS;
    const caller = await identify(request);
    if (caller.mayReadPrivate) {
      if (isGuarded) await guarded.reading(repository);
      return WITH_MEMBERS;
    }
    if (isGuarded) {
      await askAsNobody(request, caller, repository, asked, options);
      guarded.opened(repository);
    }
    if (!mayLeak(repository, asked)) return WITH_MEMBERS;
    // Whoever runs a registry may have it say that it has anything.
    if (!isBelieved(repository)) return { alone: true };
    await askAsNobody(request, caller, repository, asked, options);
    return WITH_MEMBERS;
  }

  async function check(
    request: IncomingMessage,
    repository: Repository,
    asked: AskedOf,
    options: AbortOptions,
  ): Promise<Passage> {
    const passage = await admit(request, repository, asked, options);
    // What is kept of lists has not come by the swarm, which has manifests and blobs proven.
    if (asked.kind === "tags" || asked.kind === "referrers")
      await proofs.prove(repository, { kind: "tags" }, options);
    return passage;
  }

  // Of most repositories there is nothing to wait for, and a promise would cost more than to know it.
  return (request, repository, asked, options) =>
    guarded.isKnownOpen(repository) && !proofs.isNeeded(repository) && !mayLeak(repository, asked)
      ? undefined
      : check(request, repository, asked, options);
}

const WITH_MEMBERS: Passage = { alone: false };

const REFUSALS = [
  "ERR_UPSTREAM_UNAUTHORIZED",
  "ERR_UPSTREAM_DENIED",
  "ERR_UPSTREAM_NOT_FOUND",
] as const;

/** The digest that is named, where it is not a tag. */
function digestOf(asked: AskedOf): Digest | undefined {
  if (asked.kind === "blob") return asked.digest;
  return asked.kind === "manifest" && isDigest(asked.reference) ? asked.reference : undefined;
}

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
