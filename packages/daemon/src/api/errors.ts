import type { ApiError } from "@shoal/api";
import { CodedError } from "@shoal/runtime";

const STATUS: Readonly<Record<string, number>> = {
  ERR_HOST: 403,
  ERR_NOT_FOUND: 404,
  ERR_PULL_NOT_FOUND: 404,
  ERR_IMAGE_NOT_STORED: 404,
  ERR_NOT_VERIFIED: 404,
  ERR_METHOD: 405,
  ERR_REQUEST: 400,
  ERR_REFERENCE_INVALID: 400,
  ERR_PLATFORM_INVALID: 400,
  ERR_TOKEN_INVALID: 400,
  ERR_SITE_MEMBER: 409,
  ERR_SITE_NO_TOKEN: 409,
  ERR_SITE_KEY: 409,
  ERR_TOKEN_IN_USE: 409,
  ERR_JOIN_TOKENS: 409,
  ERR_REVOKE: 409,
  ERR_MEMBER_NOT_FOUND: 404,
  ERR_JOIN: 504,
};

/** The HTTP status of a failure of the API. */
export function statusOf(error: unknown): number {
  return error instanceof CodedError ? (STATUS[error.code] ?? 500) : 500;
}

/** A failure in the API's form. What has no code tells nothing of itself to a client. */
export function apiErrorOf(error: unknown): ApiError {
  if (!(error instanceof CodedError))
    return { error: { code: "ERR_INTERNAL", message: "the daemon failed; see its log" } };
  const details = Object.entries(error.details).filter(
    (entry): entry is [string, string | number | boolean] => entry[1] !== undefined,
  );
  return {
    error: {
      code: error.code,
      message: error.message,
      ...(details.length === 0 ? {} : { details: Object.fromEntries(details) }),
    },
  };
}
