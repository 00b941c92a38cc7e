import { isDigest } from "./digest.ts";
import { DOCKER_HUB, isTag, parseRegistryHost, parseRepositoryName, withLibrary } from "./names.ts";
import type { Digest, Repository, RepositoryName, Tag } from "./types.ts";

/** A request's path, as the distribution spec's table of endpoints lists them. */
export type DistributionRequest =
  | { readonly kind: "base" }
  | { readonly kind: "manifest"; readonly name: RepositoryName; readonly reference: Tag | Digest }
  | { readonly kind: "blob"; readonly name: RepositoryName; readonly digest: Digest }
  | { readonly kind: "tags"; readonly name: RepositoryName }
  | { readonly kind: "referrers"; readonly name: RepositoryName; readonly digest: Digest }
  | { readonly kind: "upload"; readonly name: RepositoryName };

/**
 * Parses the path of a request, without its query. Nothing in a valid path needs percent-encoding but the
 * colon of a digest. @returns `undefined` for what is no path of the spec
 */
export function parseDistributionPath(path: string): DistributionRequest | undefined {
  if (path === "/v2" || path === "/v2/") return { kind: "base" };
  if (path.length > 1024) return undefined;
  const plain = path.replaceAll(/%3a/gi, ":");
  const match =
    /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(plain) ??
    /^\/v2\/(.+)\/(blobs)\/(uploads)(?:\/[^/]*)?$/.exec(plain);
  if (match === null) return undefined;
  const [, rawName, section, last] = match as unknown as [string, string, string, string];
  const name = repositoryName(rawName);
  if (name === undefined) return undefined;
  if (section === "manifests")
    return isDigest(last) || isTag(last) ? { kind: "manifest", name, reference: last } : undefined;
  if (section === "tags") return last === "list" ? { kind: "tags", name } : undefined;
  if (section === "blobs" && last === "uploads") return { kind: "upload", name };
  if (!isDigest(last)) return undefined;
  return { kind: section === "blobs" ? "blob" : "referrers", name, digest: last };
}

function repositoryName(text: string): RepositoryName | undefined {
  try {
    return parseRepositoryName(text);
  } catch {
    return undefined;
  }
}

/**
 * Which upstream repository a request to the mirror means: `ns=` first, then a first path segment that is a
 * registry's host (`host_5000` for one with a port, since the grammar has no colon), then Docker Hub.
 * @throws ERR_REGISTRY_INVALID, ERR_REPOSITORY_INVALID
 */
export function resolveNaming(name: string, ns: string | undefined): Repository {
  if (ns !== undefined && ns !== "") {
    const registry = parseRegistryHost(ns);
    return { registry, name: parseRepositoryName(withLibrary(registry, name)) };
  }
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(0, slash));
  const withPort = /^(.+)_([0-9]{1,5})$/.exec(first);
  if (withPort !== null || first.includes(".") || first === "localhost") {
    const registry = parseRegistryHost(withPort === null ? first : `${withPort[1]}:${withPort[2]}`);
    return { registry, name: parseRepositoryName(withLibrary(registry, name.slice(slash + 1))) };
  }
  return { registry: DOCKER_HUB, name: parseRepositoryName(withLibrary(DOCKER_HUB, name)) };
}
