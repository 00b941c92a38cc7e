import { createDigester, type Digest, type Repository } from "@shoal/oci";
import { type AbortOptions, CodedError } from "@shoal/runtime";
import type { ByteRange } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { HELD_BACK_BYTES, heldBackFrom } from "./reader.ts";

export interface PassthroughComponents {
  readonly upstream: Pick<Upstream, "blob" | "confirm" | "reject">;
  readonly onBytes: (lengthBytes: number) => void;
}

/**
 * Streams a blob from the upstream without storing it, for when the store can't. The digest is checked on
 * the way and the end held back until it has matched; a range that ends before that is asked for alone.
 * @throws ERR_DIGEST_MISMATCH, ERR_UPSTREAM_TRUNCATED, and what Upstream throws
 */
export async function* passThrough(
  components: PassthroughComponents,
  repository: Repository,
  blob: { readonly digest: Digest; readonly sizeBytes: number },
  range: ByteRange,
  options: AbortOptions = {},
): AsyncGenerator<Uint8Array, void> {
  const whole = range.end > heldBackFrom(blob.sizeBytes);
  const from = whole ? 0 : range.start;
  const response = await components.upstream.blob(repository, blob.digest, {
    signal: options.signal,
    sizeBytes: blob.sizeBytes,
    ...(from > 0 ? { start: from } : {}),
    ...(whole ? {} : { end: range.end }),
  });
  const digester = createDigester(blob.digest);
  const held: Uint8Array[] = [];
  let heldBytes = 0;
  let at = response.start;
  for await (const chunk of response.body) {
    components.onBytes(chunk.length);
    const shown = chunk.subarray(
      Math.min(chunk.length, Math.max(0, range.start - at)),
      Math.max(0, Math.min(chunk.length, range.end - at)),
    );
    at += chunk.length;
    if (whole) digester.update(chunk);
    if (shown.length > 0) {
      held.push(shown);
      heldBytes += shown.length;
    }
    if (!whole) {
      yield* held.splice(0);
      if (at >= range.end) return;
      continue;
    }
    while (held.length > 0 && heldBytes - held[0]!.length >= HELD_BACK_BYTES) {
      const next = held.shift()!;
      heldBytes -= next.length;
      yield next;
    }
  }
  if (at < (whole ? blob.sizeBytes : range.end))
    throw new CodedError(
      "ERR_UPSTREAM_TRUNCATED",
      `${repository.registry} ended the blob at byte ${at} of ${blob.sizeBytes}; the image may be broken there, push it again`,
      { details: { digest: blob.digest } },
    );
  if (whole && digester.digest() !== blob.digest) {
    components.upstream.reject(repository, blob.digest);
    throw new CodedError(
      "ERR_DIGEST_MISMATCH",
      `${repository.registry} sent bytes that are not ${blob.digest}; if a proxy stands between, look there, else push the image again`,
      { details: { digest: blob.digest } },
    );
  }
  if (whole) components.upstream.confirm(repository, blob.digest);
  yield* held;
}
