import { type AuditLog, type Clock, type Logger, noMetrics, silentLogger } from "@shoal/runtime";
import type { Repository } from "@shoal/oci";
import type { Store } from "@shoal/store";
import type { Privacy, Swarm } from "@shoal/swarm";
import {
  createOwnAccess,
  createUpstream,
  type Credentials,
  type Upstream,
  type UpstreamInit,
} from "@shoal/upstream";
import { auditedUpstream } from "../audit/guarded-upstream.ts";
import { type AccessProofsInit, loadAccessProofs } from "./access-proofs.ts";
import { createIdentifyCaller } from "./callers.ts";
import { createGivenContent } from "./given-content.ts";
import { loadGuardedRepositories } from "./guarded-repositories.ts";
import { createGuardedSwarm } from "./guarded-swarm.ts";
import { createKnownRegistries } from "./known-registries.ts";
import { createMirrorGate, type MirrorGate } from "./mirror-gate.ts";
import { loadMirrorSecret } from "./mirror-secret.ts";

/** Who may read what: of this machine's users, and of the site's members. */
export interface Access extends AsyncDisposable {
  readonly privacy: Privacy;
  /** What lets requests through before the mirror answers them. */
  gate(swarm: Pick<Swarm, "holds">): MirrorGate;
  /** The swarm as engines and programs are to use it. */
  guard(swarm: Swarm): Pick<Swarm, "resolve" | "open" | "stat">;
}

/** @throws ERR_MIRROR_SECRET */
export async function createAccess(
  components: {
    readonly store: Pick<Store, "table" | "on">;
    /** Asks registries as this machine. */
    readonly upstream: Upstream;
    readonly audit: AuditLog;
    readonly clock: Clock;
    readonly logger: Logger;
  },
  init: {
    /** How it does so. */
    readonly upstream: UpstreamInit & { readonly credentials: Credentials };
    readonly uid: number;
    readonly secretFile: string | undefined;
    readonly proofs: AccessProofsInit;
  },
): Promise<Access> {
  const { store, upstream, audit, clock, logger } = components;
  const { provesAccess } = init.proofs;
  const { registries = {}, certificateFolders = [], credentials } = init.upstream;
  const hasSecret =
    init.secretFile === undefined ? undefined : await loadMirrorSecret(init.secretFile, logger);
  const access = createOwnAccess(
    { clock, logger: silentLogger, credentials },
    { registries, certificateFolders },
  );
  const guarded = await loadGuardedRepositories({ store, access, clock, logger });
  // With pauses and connections of its own: strangers' questions must not hold up this machine's.
  const nobody = createUpstream(
    { clock, logger: silentLogger, metrics: noMetrics },
    { ...init.upstream, asNobody: true },
  );
  const proofs = await loadAccessProofs({ store, upstream, audit, clock, logger }, init.proofs);
  const isPrivate = (repository: Repository): boolean =>
    provesAccess(repository) || guarded.isGuarded(repository);
  const identify = createIdentifyCaller({ uid: init.uid, hasSecret });
  return {
    privacy: {
      isPrivate,
      provesAccess,
      // A member may hand over, or ask for, what nobody has asked for here.
      async learn(repository) {
        if (await guarded.learn(repository)) await guarded.reading(repository);
      },
    },
    gate: (swarm) =>
      createMirrorGate({
        guarded,
        proofs,
        identify,
        nobody: auditedUpstream(nobody, audit),
        swarm,
        given: createGivenContent(),
        believes: createKnownRegistries(Object.keys(registries)),
        audit,
      }),
    guard: (swarm) => createGuardedSwarm(swarm, { guarded, proofs }),
    [Symbol.asyncDispose]: async () => await nobody[Symbol.asyncDispose](),
  };
}
