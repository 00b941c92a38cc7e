import type { Digest, Repository, Tag } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import type { Upstream } from "@shoal/upstream";

/** What of a repository is asked for to see whether the registry gives it. */
export type Subject =
  | { readonly kind: "manifest"; readonly name: Tag | Digest }
  | { readonly kind: "blob"; readonly name: Digest }
  | { readonly kind: "tags" };

/** Resolves when the registry gives it. @throws what Upstream throws */
export async function askFor(
  upstream: Pick<Upstream, "headManifest" | "manifest" | "blob" | "tags">,
  repository: Repository,
  subject: Subject,
  options: AbortOptions,
): Promise<void> {
  switch (subject.kind) {
    case "manifest": {
      // Registries count GETs, not HEADs; a HEAD that tells nothing may be one that was refused.
      const head = await upstream.headManifest(repository, subject.name, options);
      if (head.digest === undefined) await upstream.manifest(repository, subject.name, options);
      return;
    }
    case "blob": {
      // A byte of it: some registries' HEAD knows nothing of a blob before its first GET.
      const enough = new AbortController();
      const signals = [enough.signal, ...(options.signal ? [options.signal] : [])];
      try {
        const signal = AbortSignal.any(signals);
        await upstream.blob(repository, subject.name, { start: 0, end: 1, signal });
      } finally {
        enough.abort();
      }
      return;
    }
    case "tags":
      await upstream.tags(repository, new URLSearchParams({ n: "1" }), options);
  }
}
