import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import { type AbortOptions, CodedError, hasCode } from "@shoal/runtime";
import type { Upstream } from "@shoal/upstream";
import type { PeerClient } from "./peer-client.ts";
import { rank } from "./rendezvous.ts";
import type { PeerTransport } from "./transport.ts";

/** Members that are asked: those that coordinate the blob. */
const ASKED = 2;

export interface SizeLookupComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly peers: PeerClient;
  readonly upstream: Pick<Upstream, "headBlob" | "blob">;
  readonly shared: boolean;
  /** Whether the registry alone is believed; members are asked all the same, so that it takes as long. @default false */
  readonly byRegistry?: boolean;
}

/**
 * Finds the size of a blob that was asked for without one: from its coordinators, the registry's HEAD, or,
 * where that disappoints, the length of a GET. @throws ERR_BLOB_SIZE_UNKNOWN, and what Upstream throws
 */
export async function lookUpSize(
  components: SizeLookupComponents,
  repository: Repository,
  digest: Digest,
  options: AbortOptions = {},
): Promise<number> {
  const told = components.shared
    ? await askMembers(components, repository, digest, options)
    : undefined;
  if (told !== undefined && components.byRegistry !== true) return told;
  try {
    const head = await components.upstream.headBlob(repository, digest, options);
    if (head.sizeBytes !== undefined) return head.sizeBytes;
  } catch (error) {
    // Some registries know nothing of a blob before its first GET.
    if (!hasCode(error, "ERR_UPSTREAM_NOT_FOUND", "ERR_UPSTREAM_STATUS")) throw error;
  }
  const leave = new AbortController();
  const signal = AbortSignal.any([leave.signal, ...(options.signal ? [options.signal] : [])]);
  try {
    const { sizeBytes } = await components.upstream.blob(repository, digest, { signal });
    if (sizeBytes !== undefined) return sizeBytes;
  } finally {
    leave.abort();
  }
  throw new CodedError(
    "ERR_BLOB_SIZE_UNKNOWN",
    `${repository.registry} does not tell the blob's size; pull the image by its manifest, which does`,
    { details: { digest } },
  );
}

async function askMembers(
  { transport, peers }: SizeLookupComponents,
  repository: Repository,
  digest: Digest,
  options: AbortOptions,
): Promise<number | undefined> {
  const ranked = rank([transport.self, ...transport.members()], digest)
    .slice(0, ASKED)
    .filter((peer) => peer !== transport.self);
  for (const peer of ranked) {
    try {
      const question = { type: "stat", digest, repository: formatRepository(repository) } as const;
      const { size } = await peers.ask(peer, question, options);
      if (size !== undefined) return size;
    } catch {
      options.signal?.throwIfAborted();
    }
  }
  return undefined;
}
