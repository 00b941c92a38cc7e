import type { Digest } from "@shoal/oci";
import { makeRoom } from "@shoal/runtime";
import { type PieceIndex, pieceGeometry } from "@shoal/store";
import { encode } from "cborg";
import type { PeerIdString, PeerTransport } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";

const HASH_BYTES = 32;
/** Verified attestations that are remembered, so that one over many pieces is verified once. */
const REMEMBERED = 1024;

/** The blob that an attestation is about. */
export interface Attested {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** Signs what this member says of pieces, and checks what others say. */
export interface Notary {
  readonly self: PeerIdString;
  /** Public name of the site that signatures are for now. */
  readonly site: string;
  /** @param hashes of consecutive pieces from `first` on, one after another */
  sign(
    blob: Attested,
    first: PieceIndex,
    hashes: Uint8Array,
    source: Attestation["source"],
  ): Promise<Attestation>;
  /** Whether the attestation is its signer's, about this blob in this site. */
  verify(blob: Attested, attestation: Attestation): Promise<boolean>;
}

/** The bytes that are signed. */
function attestationPayload(
  site: string,
  { digest, sizeBytes }: Attested,
  { first, hashes, source }: Pick<Attestation, "first" | "hashes" | "source">,
): Uint8Array {
  const { pieceSizeBytes } = pieceGeometry(sizeBytes);
  return encode(["shoal/attest/1", site, digest, sizeBytes, pieceSizeBytes, first, hashes, source]);
}

/** The sha256 that an attestation promises of a piece; `undefined` when it is about others. */
export function promisedHash(attestation: Attestation, piece: PieceIndex): Uint8Array | undefined {
  const at = (piece - attestation.first) * HASH_BYTES;
  if (at < 0 || at + HASH_BYTES > attestation.hashes.length) return undefined;
  return attestation.hashes.subarray(at, at + HASH_BYTES);
}

/** The sha256 that an attestation promises of the piece, if it is its signer's and about this blob. */
export async function vouchedHash(
  notary: Pick<Notary, "verify">,
  blob: Attested,
  piece: PieceIndex,
  attestation: Attestation | undefined,
): Promise<Uint8Array | undefined> {
  const hash = attestation && promisedHash(attestation, piece);
  return hash !== undefined && (await notary.verify(blob, attestation!)) ? hash : undefined;
}

export function createNotary(
  transport: Pick<PeerTransport, "self" | "site" | "sign" | "verify">,
): Notary {
  const verified = new Set<string>();

  return {
    self: transport.self,
    get site() {
      return transport.site;
    },
    async sign(blob, first, hashes, source) {
      const claim = { first, hashes: Uint8Array.from(hashes), source };
      const signature = await transport.sign(attestationPayload(transport.site, blob, claim));
      return { signer: transport.self, ...claim, signature };
    },
    async verify(blob, attestation) {
      const { first, hashes, signer, signature } = attestation;
      const { pieceCount } = pieceGeometry(blob.sizeBytes);
      if (hashes.length === 0 || hashes.length % HASH_BYTES !== 0) return false;
      if (first + hashes.length / HASH_BYTES > pieceCount) return false;
      const payload = attestationPayload(transport.site, blob, attestation);
      const key = Buffer.concat([Buffer.from(signer), signature, payload]).toString("latin1");
      if (verified.has(key)) return true;
      if (!(await transport.verify(signer, payload, signature))) return false;
      makeRoom(verified, REMEMBERED);
      verified.add(key);
      return true;
    },
  };
}
