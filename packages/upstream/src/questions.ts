import { type Digest, MANIFEST_ACCEPT, type Repository, type Tag } from "@shoal/oci";
import type { RegistryQuestion } from "./requests.ts";

/** Registries that know no HEAD answer so; the caller asks with GET. */
const NO_HEAD = [400, 405, 501];

/** @param types media types that the client accepts. @default all that a manifest may have */
export function manifestQuestion(
  method: "GET" | "HEAD",
  repository: Repository,
  name: Tag | Digest,
  types: readonly string[] = [],
): RegistryQuestion {
  const wanted = types.filter((type) => !type.trim().startsWith("*/*"));
  const accept = wanted.length > 0 ? wanted : MANIFEST_ACCEPT;
  return {
    repository,
    kind: method === "GET" ? "manifest" : "manifest_head",
    method,
    path: `manifests/${name}`,
    headers: { accept: accept.join(", ") },
    subject: `manifest ${name} of ${repository.name}`,
    ...(method === "HEAD" ? { pass: NO_HEAD } : {}),
  };
}

export function blobQuestion(
  method: "GET" | "HEAD",
  repository: Repository,
  digest: Digest,
): RegistryQuestion {
  return {
    repository,
    kind: method === "GET" ? "blob" : "blob_head",
    method,
    path: `blobs/${digest}`,
    subject: `blob ${digest} of ${repository.name}`,
    ...(method === "HEAD" ? { pass: NO_HEAD } : {}),
  };
}

export function tagsQuestion(repository: Repository, query: URLSearchParams): RegistryQuestion {
  return {
    repository,
    kind: "tags",
    method: "GET",
    path: withQuery("tags/list", query),
    subject: `tags of ${repository.name}`,
  };
}

export function referrersQuestion(
  repository: Repository,
  digest: Digest,
  query: URLSearchParams,
): RegistryQuestion {
  return {
    repository,
    kind: "referrers",
    method: "GET",
    path: withQuery(`referrers/${digest}`, query),
    headers: { accept: "application/vnd.oci.image.index.v1+json" },
    subject: `referrers of ${digest} in ${repository.name}`,
  };
}

function withQuery(path: string, query: URLSearchParams): string {
  return query.size === 0 ? path : `${path}?${query.toString()}`;
}
