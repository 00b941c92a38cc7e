import { formatRepository, type Repository } from "@shoal/oci";
import { type AuditEvent, type AuditLog, CodedError } from "@shoal/runtime";
import type { Upstream } from "@shoal/upstream";

type Reason = Extract<AuditEvent, { kind: "deny" }>["reason"];

const REFUSALS: ReadonlyMap<string, Reason> = new Map<string, Reason>([
  ["ERR_UPSTREAM_FORBIDDEN_ADDRESS", "address"],
  ["ERR_UPSTREAM_REALM", "realm"],
  ["ERR_UPSTREAM_REDIRECT", "redirect"],
]);

/** An upstream that records where a registry, or whoever names one, wanted to send this machine and may not. */
export function auditedUpstream(upstream: Upstream, audit: AuditLog): Upstream {
  async function watched<T>(repository: Repository, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const reason = error instanceof CodedError ? REFUSALS.get(error.code) : undefined;
      if (reason !== undefined)
        audit.record({
          kind: "deny",
          at: "upstream",
          reason,
          who: repository.registry,
          what: formatRepository(repository),
        });
      throw error;
    }
  }
  return {
    headManifest: async (repository, ...rest) =>
      await watched(repository, upstream.headManifest(repository, ...rest)),
    manifest: async (repository, ...rest) =>
      await watched(repository, upstream.manifest(repository, ...rest)),
    headBlob: async (repository, ...rest) =>
      await watched(repository, upstream.headBlob(repository, ...rest)),
    blob: async (repository, ...rest) =>
      await watched(repository, upstream.blob(repository, ...rest)),
    tags: async (repository, ...rest) =>
      await watched(repository, upstream.tags(repository, ...rest)),
    referrers: async (repository, ...rest) =>
      await watched(repository, upstream.referrers(repository, ...rest)),
    confirm: (repository, digest) => upstream.confirm(repository, digest),
    reject: (repository, digest) => upstream.reject(repository, digest),
    pause: (registry, forMs) => upstream.pause(registry, forMs),
    health: () => upstream.health(),
    [Symbol.asyncDispose]: async () => await upstream[Symbol.asyncDispose](),
  };
}
