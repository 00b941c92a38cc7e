import { createDigester, type Repository } from "@shoal/oci";
import type { AbortOptions } from "@shoal/runtime";
import type { ByteRange } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import type { Attested } from "./attestation.ts";
import { createHeldBack, heldBackFrom, within } from "./held-back.ts";
import { upstreamMismatch, upstreamTruncated } from "./wrong-bytes.ts";

export interface PassthroughComponents {
  readonly upstream: Pick<Upstream, "blob" | "confirm" | "reject">;
  readonly onBytes: (from: "upstream" | "peers", lengthBytes: number) => void;
}

/**
 * Streams a blob from the upstream without storing it, for when the store can't. The digest is checked on
 * the way and the end held back until it has matched; a range that ends before that is asked for alone.
 * @throws ERR_DIGEST_MISMATCH, ERR_UPSTREAM_TRUNCATED, and what Upstream throws
 */
export async function* passThrough(
  { upstream, onBytes }: PassthroughComponents,
  repository: Repository,
  blob: Attested,
  range: ByteRange,
  options: AbortOptions = {},
): AsyncGenerator<Uint8Array, void> {
  const whole = range.end > heldBackFrom(blob.sizeBytes);
  const from = whole ? 0 : range.start;
  const response = await upstream.blob(repository, blob.digest, {
    signal: options.signal,
    sizeBytes: blob.sizeBytes,
    ...(from > 0 ? { start: from } : {}),
    ...(whole ? {} : { end: range.end }),
  });
  const digester = createDigester(blob.digest);
  const held = createHeldBack(whole ? undefined : 0);
  let at = response.start;
  for await (const chunk of response.body) {
    onBytes("upstream", chunk.length);
    if (whole) digester.update(chunk);
    yield* held.add(within(chunk, at, range));
    at += chunk.length;
    if (!whole && at >= range.end) return;
  }
  if (at < (whole ? blob.sizeBytes : range.end)) throw upstreamTruncated(blob, repository, at);
  if (whole && digester.digest() !== blob.digest) {
    upstream.reject(repository, blob.digest);
    throw upstreamMismatch(blob, repository);
  }
  if (whole) upstream.confirm(repository, blob.digest);
  yield* held.release();
}
