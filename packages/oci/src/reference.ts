import { CodedError, hasCode } from "@shoal/runtime";
import { parseDigest } from "./digest.ts";
import {
  DOCKER_HUB,
  formatRepository,
  parseRegistryHost,
  parseRepositoryName,
  parseTag,
  withLibrary,
} from "./names.ts";
import type { Digest, Reference, Tag } from "./types.ts";

const MAX_REFERENCE_LENGTH = 1024;

/**
 * Parses an image reference as Docker writes it: `[registry/]name[:tag][@digest]`. Without a registry it is
 * Docker Hub's, without tag and digest its tag is `latest`. github.com/distribution/reference.
 * @throws ERR_REFERENCE_INVALID; its `cause` has the code of the part that is wrong
 */
export function parseReference(text: string): Reference {
  if (text.length === 0 || text.length > MAX_REFERENCE_LENGTH || /\s/.test(text))
    throw invalid(text, "write [registry/]name[:tag][@digest], for example alpine:3.20");
  if (text.includes("://")) throw invalid(text, "leave the scheme out");
  try {
    return parseParts(text);
  } catch (cause) {
    if (!hasCode(cause) || hasCode(cause, "ERR_REFERENCE_INVALID")) throw cause;
    throw invalid(text, cause.message, cause);
  }
}

function parseParts(text: string): Reference {
  const at = text.indexOf("@");
  const named = at === -1 ? text : text.slice(0, at);
  const digest = at === -1 ? undefined : parseDigest(text.slice(at + 1));
  if (named === "") throw invalid(text, "write a name before the @");

  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const path = tagged ? named.slice(0, colon) : named;
  const tag = tagged ? parseTag(named.slice(colon + 1)) : undefined;

  const { registry, rest } = splitRegistry(path);
  const repository = { registry, name: parseRepositoryName(withLibrary(registry, rest)) };
  return assemble(
    repository,
    tag ?? (digest === undefined ? ("latest" as Tag) : undefined),
    digest,
  );
}

/** The first segment is a registry when it has a dot or a port, or is `localhost`. */
function splitRegistry(path: string): {
  registry: Reference["repository"]["registry"];
  rest: string;
} {
  const slash = path.indexOf("/");
  const first = path.slice(0, Math.max(0, slash));
  const isHost = first === "localhost" || /[.:]/.test(first);
  if (!isHost) return { registry: DOCKER_HUB, rest: path };
  return { registry: parseRegistryHost(first), rest: path.slice(slash + 1) };
}

function assemble(
  repository: Reference["repository"],
  tag: Tag | undefined,
  digest: Digest | undefined,
): Reference {
  return {
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The reference in full: `docker.io/library/alpine:latest`. */
export function formatReference({ repository, tag, digest }: Reference): string {
  const tagPart = tag === undefined ? "" : `:${tag}`;
  const digestPart = digest === undefined ? "" : `@${digest}`;
  return `${formatRepository(repository)}${tagPart}${digestPart}`;
}

function invalid(text: string, hint: string, cause?: unknown): CodedError<"ERR_REFERENCE_INVALID"> {
  return new CodedError(
    "ERR_REFERENCE_INVALID",
    `not an image reference: ${JSON.stringify(text.slice(0, 160))}; ${hint}`,
    { cause },
  );
}
