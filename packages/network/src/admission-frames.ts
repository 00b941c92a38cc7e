import { createHmac, timingSafeEqual } from "node:crypto";
import { CodedError, deadline } from "@shoal/runtime";
import { encode } from "cborg";
import * as z from "zod";
import type { FramedStream } from "./frames.ts";
import { decodeStrict } from "./strict-cbor.ts";

/** How long an admission may take, in milliseconds. */
export const ADMISSION_MS = 5000;
export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;

export const bytes = (length: number) =>
  z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length === length);
/** Bytes of any number up to the given. */
export const bytesUpTo = (length: number) =>
  z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= length);

export async function withDeadline<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  try {
    return await work(deadline(ADMISSION_MS));
  } catch (error) {
    if (error instanceof CodedError && error.code === "ERR_ADMISSION") throw error;
    throw refused("did not complete the admission", error);
  }
}

/** HMAC-SHA256 over who proves, to whom, and both nonces: a proof can't be replayed or reflected. */
export function proofOf(
  domain: string,
  key: Uint8Array,
  role: "initiator" | "responder",
  prover: string,
  verifier: string,
  nonces: Uint8Array,
): Buffer {
  return createHmac("sha256", key)
    .update(encode([domain, role, prover, verifier, nonces]))
    .digest();
}

export function matches(proof: Uint8Array, expected: Uint8Array): boolean {
  return timingSafeEqual(proof, expected);
}

/** @throws ERR_ADMISSION when the stream has ended; ERR_PEER_PROTOCOL or ZodError on what is no such frame */
export async function receive<Schema extends z.ZodType>(
  stream: Pick<FramedStream, "read">,
  schema: Schema,
  signal: AbortSignal,
): Promise<z.infer<Schema>> {
  const frame = await stream.read({ signal });
  if (frame === undefined) throw refused("ended the admission");
  return schema.parse(decodeStrict(frame));
}

export function refused(fault: string, cause?: unknown): CodedError<"ERR_ADMISSION"> {
  return new CodedError(
    "ERR_ADMISSION",
    `a peer ${fault}; if it should belong to this site, run \`shoal join\` on it with this site's token`,
    { cause },
  );
}
