import { isDigest, type Digest, parseRegistryHost, type RegistryHost } from "@shoal/oci";
import * as z from "zod";
import type { PeerIdString } from "../transport.ts";

/** Members that one message names. */
export const MAX_PEERS = 256;
const MAX_PIECES = 1 << 20;

export const count = z.number().int().nonnegative();
/** Of a blob. Whoever coordinates it keeps some bytes for each of its pieces, which are of 4 MiB at most. */
export const size = count.max(MAX_PIECES * 4 * 1024 * 1024);
export const digest = z.custom<Digest>((value) => typeof value === "string" && isDigest(value));
export const peer = z.custom<PeerIdString>(
  (value) => typeof value === "string" && /^[1-9A-HJ-NP-Za-km-z]{46,64}$/.test(value),
);
export const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
export const bitfield = bytes.refine((value) => value.length <= MAX_PIECES / 8);
/** `registry/name` of a shared repository that the asker works for. */
export const repository = z.string().min(3).max(512);
export const registry = z.custom<RegistryHost>((value) => {
  try {
    return typeof value === "string" && parseRegistryHost(value) === value;
  } catch {
    return false;
  }
});
/** The fields by which a message names a blob. */
export const blob = { digest, size, repository };
