import { randomBytes } from "node:crypto";
import { encode } from "cborg";
import * as z from "zod";
import {
  bytes,
  matches,
  NONCE_BYTES,
  proofOf,
  PROOF_BYTES,
  receive,
  refused,
  withDeadline,
} from "./admission-frames.ts";
import type { FramedStream } from "./frames.ts";

export const ADMISSION_PROTOCOL = "/shoal/admit/1";
const DOMAIN = "shoal/admit/1";
export const ADMISSION_FRAME_BYTES = 128 * 1024;
const MAX_ROSTER = 300;
/** What a card's roster may take of the frame; the rest is for its own addresses and the proof. */
const ROSTER_BYTES = 96 * 1024;

const addresses = z.array(z.string().max(256)).max(16);

const HelloSchema = z.strictObject({ nonce: bytes(NONCE_BYTES) });
const ChallengeSchema = z.strictObject({ nonce: bytes(NONCE_BYTES), proof: bytes(PROOF_BYTES) });
/** A label of letters, digits, dots, dashes and underscores. */
const zone = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/);
// A later version may say more of itself.
export const CardSchema = z.object({
  /** Where the sender listens. */
  addresses,
  /** Members that the sender knows. */
  roster: z.array(z.strictObject({ peer: z.string().max(64), addresses })).max(MAX_ROSTER),
  /** The rack or room that the sender is in. */
  zone: zone.optional(),
});
const ProofSchema = z.strictObject({ proof: bytes(PROOF_BYTES), card: CardSchema });
const WelcomeSchema = z.strictObject({ card: CardSchema });

/** What a member tells another on admission. */
export type Card = z.infer<typeof CardSchema>;

/** A card with as much of the roster, from its beginning, as goes into one frame. */
export function createCard(
  own: readonly string[],
  roster: Iterable<{ readonly peer: string; readonly addresses: readonly string[] }>,
  label?: string,
): Card {
  const card: Card = { addresses: [...own], roster: [], ...(label ? { zone: label } : {}) };
  let leftBytes = ROSTER_BYTES;
  for (const { peer, addresses: known } of roster) {
    const entry = { peer, addresses: [...known] };
    leftBytes -= encode(entry).length;
    if (leftBytes < 0 || card.roster.length === MAX_ROSTER) break;
    card.roster.push(entry);
  }
  return card;
}

export interface AdmissionInit {
  readonly key: Uint8Array;
  readonly self: string;
  readonly remote: string;
  /** Told only to a peer that has proved itself. */
  readonly card: () => Card;
}

/**
 * Proves the site's token to the peer that was dialled and has it prove the same. Nothing but random bytes
 * is said before its proof has matched. @throws ERR_ADMISSION
 */
export async function requestAdmission(stream: FramedStream, init: AdmissionInit): Promise<Card> {
  return await withDeadline(async (signal) => {
    const nonce = randomBytes(NONCE_BYTES);
    await stream.write([encode({ nonce })], { signal });
    const theirs = await receive(stream, ChallengeSchema, signal);
    const nonces = Buffer.concat([nonce, theirs.nonce]);
    if (
      !matches(theirs.proof, proofOf(DOMAIN, init.key, "responder", init.remote, init.self, nonces))
    )
      throw refused("does not know this site's token");
    const proof = proofOf(DOMAIN, init.key, "initiator", init.self, init.remote, nonces);
    await stream.write([encode({ proof, card: init.card() })], { signal });
    return (await receive(stream, WelcomeSchema, signal)).card;
  });
}

/** The same from the side that was dialled. @throws ERR_ADMISSION */
export async function grantAdmission(stream: FramedStream, init: AdmissionInit): Promise<Card> {
  return await withDeadline(async (signal) => {
    const hello = await receive(stream, HelloSchema, signal);
    const nonce = randomBytes(NONCE_BYTES);
    const nonces = Buffer.concat([hello.nonce, nonce]);
    const proof = proofOf(DOMAIN, init.key, "responder", init.self, init.remote, nonces);
    await stream.write([encode({ nonce, proof })], { signal });
    const theirs = await receive(stream, ProofSchema, signal);
    if (
      !matches(theirs.proof, proofOf(DOMAIN, init.key, "initiator", init.remote, init.self, nonces))
    )
      throw refused("does not know this site's token");
    await stream.write([encode({ card: init.card() })], { signal });
    return theirs.card;
  });
}
