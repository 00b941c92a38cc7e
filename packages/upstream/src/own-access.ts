import type { Repository } from "@shoal/oci";
import type { AbortOptions, Clock, Logger } from "@shoal/runtime";
import { createCertificates } from "./certificates.ts";
import type { Credentials } from "./credentials.ts";
import { type RegistriesSettings, resolveSources } from "./endpoints.ts";
import { targetOf } from "./sources.ts";

/** What this machine can show to registries and a stranger can't. */
export interface OwnAccess {
  /**
   * Whether there is a login or a client certificate for any of the places where the repository is asked for.
   * Throws the signal's reason, and ERR_UPSTREAM_TLS for a certificate that can't be read.
   */
  has(repository: Repository, options?: AbortOptions): Promise<boolean>;
}

export function createOwnAccess(
  components: { readonly clock: Clock; readonly logger: Logger; readonly credentials: Credentials },
  init: {
    readonly registries: RegistriesSettings;
    readonly certificateFolders: readonly string[];
  },
): OwnAccess {
  const certificates = createCertificates(components, { folders: init.certificateFolders });
  return {
    async has(repository, options = {}) {
      for (const source of resolveSources(repository.registry, init.registries)) {
        const target = targetOf(source, repository);
        if ((await components.credentials.find(target.repository, options)) !== undefined)
          return true;
        if ((await certificates.of(target.endpoint)).client !== undefined) return true;
      }
      return false;
    },
  };
}
