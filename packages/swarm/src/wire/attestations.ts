import * as z from "zod";
import { bitfield, blob, bytes, count, MAX_PEERS, peer } from "./fields.ts";

/** Pieces that one attestation may vouch for. */
const MAX_ATTESTED = 64;

/** What its signer says of consecutive pieces: that the upstream or a verified blob has them so. */
export const AttestationSchema = z.strictObject({
  signer: peer,
  /** First piece. */
  first: count,
  /** sha256 of each piece, one after another. */
  hashes: bytes.refine((value) => value.length <= MAX_ATTESTED * 32),
  /** Whether the signer read the pieces from the upstream, or holds the whole verified blob. */
  source: z.enum(["upstream", "holder"]),
  signature: bytes.refine((value) => value.length <= 64),
});
export type Attestation = z.infer<typeof AttestationSchema>;

/** A participant's pieces do not make up the blob, or it knows of others to whom that happened. */
export const DisputeSchema = z.strictObject({
  disputing: z.boolean(),
  /** Whether it may read pieces from the upstream to find out. */
  mayAudit: z.boolean(),
  /** Which of its pieces each signer vouches for. */
  signers: z.array(z.strictObject({ signer: peer, pieces: bitfield })).max(MAX_PEERS),
  /** Pieces of which two hashes are known. */
  contested: z.array(count).max(256),
  /** What it has read itself, a piece each. */
  findings: z.array(AttestationSchema).max(256),
  /** How many of the coordinator's findings it has heard. */
  heard: count,
});

/** What a coordinator answers to a dispute. */
export const AuditSchema = z.strictObject({
  /** To be read from the upstream. */
  pieces: z.array(count).max(64),
  /** From number `heard` of the dispute on. */
  findings: z.array(AttestationSchema).max(256),
  heard: count,
});

/** A false attestation, for whoever has the verified blob to check. */
export const AccuseSchema = z.strictObject({
  type: z.literal("accuse"),
  ...blob,
  attestation: AttestationSchema,
});
export type Accuse = z.infer<typeof AccuseSchema>;
export const AccusedSchema = z.strictObject({
  type: z.literal("accused"),
  /** The accused takes its word back: its registry gave it the piece so. */
  withdrawn: z.boolean(),
});
