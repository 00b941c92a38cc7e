import { createHash } from "node:crypto";
import { createEphemeralIdentity, createNetwork, siteOf, type SiteToken } from "@shoal/network";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { pieceGeometry, type PieceIndex } from "@shoal/store";
import { createNotary, decodeRequest, type Notary, promisedHash } from "@shoal/swarm";
import type { Content } from "./images.ts";

/** A member of the site that has taken no part in anything. */
export async function createOutsideNotary(token: SiteToken): Promise<Notary> {
  const network = createNetwork({
    identity: await createEphemeralIdentity(),
    clock: systemClock,
    random: Math.random,
    logger: silentLogger,
    metrics: noMetrics,
  });
  const { self, sign, verify } = network;
  return createNotary({ self, site: siteOf(token).id, sign, verify });
}

/** Whether the proof shows that `liar` has vouched for other bytes than a blob has, one of `blobs`. */
export async function shows(
  notary: Notary,
  proof: string,
  liar: string,
  blobs: readonly Content[],
): Promise<boolean> {
  const told = decodeRequest(Buffer.from(proof, "base64"));
  if (told.type !== "accuse" || told.attestation.signer !== liar) return false;
  const { digest, size: sizeBytes, attestation } = told;
  const blob = blobs.find(({ descriptor }) => descriptor.digest === digest);
  if (blob?.bytes.length !== sizeBytes) return false;
  if (!(await notary.verify({ digest, sizeBytes }, attestation))) return false;
  const { pieceSizeBytes } = pieceGeometry(sizeBytes);
  for (let piece = attestation.first as PieceIndex; ; piece++) {
    const promised = promisedHash(attestation, piece);
    if (promised === undefined) return false;
    const start = piece * pieceSizeBytes;
    const bytes = blob.bytes.subarray(start, start + pieceSizeBytes);
    if (Buffer.compare(createHash("sha256").update(bytes).digest(), promised) !== 0) return true;
  }
}
