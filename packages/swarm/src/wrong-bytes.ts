import type { Repository } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import type { Attested } from "./attestation.ts";

/** The registry's own bytes are not the blob's. */
export function upstreamMismatch(
  { digest }: Pick<Attested, "digest">,
  { registry }: Repository,
  cause?: unknown,
): CodedError<"ERR_DIGEST_MISMATCH"> {
  return new CodedError(
    "ERR_DIGEST_MISMATCH",
    `${registry} sent bytes that are not ${digest}; if a proxy stands between, look there, else push the image again`,
    { cause, details: { digest, registry } },
  );
}

/** Bytes that members gave, and that were partly shown, are not the blob's. */
export function membersMismatch({ digest }: Attested): CodedError<"ERR_DIGEST_MISMATCH"> {
  return new CodedError(
    "ERR_DIGEST_MISMATCH",
    "bytes that members gave of a blob that can't be kept here are not the blob's; ask for it again, it is read from the registry then",
    { details: { digest } },
  );
}

/** The registry has ended a blob early. */
export function upstreamTruncated(
  { digest, sizeBytes }: Attested,
  { registry }: Repository,
  atByte: number,
): CodedError<"ERR_UPSTREAM_TRUNCATED"> {
  return new CodedError(
    "ERR_UPSTREAM_TRUNCATED",
    `${registry} ended the blob at byte ${atByte} of ${sizeBytes}; the image may be broken there, push it again`,
    { details: { digest } },
  );
}
