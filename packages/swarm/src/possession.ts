import type { Digest, Repository } from "@shoal/oci";
import { type AbortOptions, CodedError } from "@shoal/runtime";
import type { Store } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";

/** Bytes of a blob that a registry has to show. */
const SHOWN_BYTES = 4096;

/**
 * Returns when the registry has shown bytes of a blob that is in the store, from a place taken at random: anybody
 * can put up a registry that says of everything that it has it. @throws ERR_UPSTREAM_NOT_FOUND where they are others,
 * and what Upstream throws
 */
export async function ensurePossession(
  components: {
    readonly store: Pick<Store, "open">;
    readonly upstream: Pick<Upstream, "blob">;
    readonly random: () => number;
  },
  repository: Repository,
  digest: Digest,
  { signal }: AbortOptions,
): Promise<void> {
  await using handle = await components.store.open(digest);
  if (handle === undefined || handle.sizeBytes === 0) return;
  const { sizeBytes } = handle;
  const length = Math.min(SHOWN_BYTES, sizeBytes);
  const start = Math.floor(components.random() * (sizeBytes - length + 1));
  const end = start + length;
  const here = await handle.read(start, length);
  const { body, start: bodyStart } = await components.upstream.blob(repository, digest, {
    signal,
    sizeBytes,
    start,
    end,
  });
  let at = bodyStart;
  let comparedBytes = 0;
  for await (const chunk of body) {
    // A registry that ignores ranges begins at the beginning.
    const shown = chunk.subarray(Math.max(0, start - at), Math.max(0, end - at));
    at += chunk.length;
    const expected = here.subarray(comparedBytes, comparedBytes + shown.length);
    if (Buffer.compare(shown, expected) !== 0) break;
    comparedBytes += shown.length;
    if (comparedBytes === length) return;
  }
  throw new CodedError(
    "ERR_UPSTREAM_NOT_FOUND",
    `${repository.registry} says that it has the blob, and does not have its bytes`,
    { details: { digest } },
  );
}
