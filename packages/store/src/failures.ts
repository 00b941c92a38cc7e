import type { Digest } from "@shoal/oci";
import { CodedError, hasCode } from "@shoal/runtime";
import type { PieceIndex } from "./geometry.ts";

export function storeFull(neededBytes: number, freeBytes: number): CodedError<"ERR_STORE_FULL"> {
  return new CodedError(
    "ERR_STORE_FULL",
    `the store has no room: ${neededBytes} bytes are needed and ${freeBytes} are free above the floor; free some disk space, or give the store another disk with the setting state`,
    { details: { neededBytes, freeBytes } },
  );
}

/** Whether the store itself has refused, rather than its disk. */
export function isRefusal(error: unknown): boolean {
  return hasCode(error, "ERR_STORE_FULL") && error.details["neededBytes"] !== undefined;
}

export function digestMismatch(expected: Digest, found: Digest): CodedError<"ERR_DIGEST_MISMATCH"> {
  return new CodedError(
    "ERR_DIGEST_MISMATCH",
    `the bytes are ${found}, not ${expected}; they are not used, fetch them again`,
    { details: { expected, found } },
  );
}

export function ingestOpen(digest: Digest): CodedError<"ERR_INGEST_OPEN"> {
  return new CodedError("ERR_INGEST_OPEN", `${digest} is arriving already; join that transfer`, {
    details: { digest },
  });
}

export function blobExists(digest: Digest): CodedError<"ERR_BLOB_EXISTS"> {
  return new CodedError("ERR_BLOB_EXISTS", `${digest} is in the store already; open it`, {
    details: { digest },
  });
}

export function blobTooLarge(
  digest: Digest,
  sizeBytes: number,
  limitBytes: number,
): CodedError<"ERR_BLOB_TOO_LARGE"> {
  return new CodedError(
    "ERR_BLOB_TOO_LARGE",
    `${digest} has ${sizeBytes} bytes, over the limit of ${limitBytes}; read it as a stream`,
    { details: { digest, sizeBytes, limitBytes } },
  );
}

export function outOfRange(
  offset: number,
  length: number,
  sizeBytes: number,
): CodedError<"ERR_RANGE"> {
  return new CodedError(
    "ERR_RANGE",
    `bytes ${offset} to ${offset + length} are outside of a blob of ${sizeBytes}`,
    { details: { offset, length, sizeBytes } },
  );
}

export function pieceMissing(piece: PieceIndex): CodedError<"ERR_PIECE_MISSING"> {
  return new CodedError("ERR_PIECE_MISSING", `piece ${piece} has not arrived yet; wait for it`, {
    details: { piece },
  });
}

export function pieceMismatch(piece: PieceIndex): CodedError<"ERR_PIECE_MISMATCH"> {
  return new CodedError(
    "ERR_PIECE_MISMATCH",
    `the bytes of piece ${piece} are not those that its sha256 promises; fetch it elsewhere`,
    { details: { piece } },
  );
}

export function pieceLengthWrong(
  piece: PieceIndex,
  lengthBytes: number,
  expectedBytes: number,
): CodedError<"ERR_PIECE_LENGTH"> {
  return new CodedError(
    "ERR_PIECE_LENGTH",
    `piece ${piece} has ${expectedBytes} bytes, ${lengthBytes} were given`,
    { details: { piece, lengthBytes, expectedBytes } },
  );
}
