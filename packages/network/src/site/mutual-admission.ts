import { randomBytes } from "node:crypto";
import { encode } from "cborg";
import * as z from "zod";
import { type Card, CardSchema } from "../admission.ts";
import {
  bytes,
  bytesUpTo,
  matches,
  NONCE_BYTES,
  PROOF_BYTES,
  proofOf,
  receive,
  refused,
  withDeadline,
} from "../admission-frames.ts";
import type { FramedStream } from "../frames.ts";
import { MAX_CERTIFICATE_BYTES } from "./certificate.ts";
import type { Credentials, Standing } from "./credentials.ts";

export const MUTUAL_ADMISSION_PROTOCOL = "/shoal/admit/2";
const DOMAIN = "shoal/admit/2";

const HelloSchema = z.strictObject({ nonce: bytes(NONCE_BYTES) });
/** What either side shows: one of them is enough. */
const ShownSchema = z.strictObject({
  proof: bytes(PROOF_BYTES).optional(),
  certificate: bytesUpTo(MAX_CERTIFICATE_BYTES).optional(),
});
const WelcomeSchema = z.strictObject({ card: CardSchema });

export interface MutualAdmissionInit {
  readonly credentials: Pick<Credentials, "tokenKey" | "certificate" | "admits" | "read">;
  readonly self: string;
  readonly remote: string;
  /** Told only to a peer that has proved itself. */
  readonly card: () => Card;
}

/** What an admission has told of the other side. */
export interface Admitted {
  readonly card: Card;
  readonly standing: Standing;
}

/**
 * Shows the peer that was dialled by certificate, token or both that this machine belongs to the site, and has
 * it show the same. Noise has authenticated both peer ids, so a certificate for the peer id is proof enough.
 * Who was dialled says nothing but random bytes before the dialler has shown itself.
 * @throws ERR_ADMISSION
 */
export async function requestMutualAdmission(
  stream: FramedStream,
  init: MutualAdmissionInit,
): Promise<Admitted> {
  return await withDeadline(async (signal) => {
    const nonce = randomBytes(NONCE_BYTES);
    await stream.write([encode({ nonce })], { signal });
    const hello = await receive(stream, HelloSchema, signal);
    const nonces = Buffer.concat([nonce, hello.nonce]);
    await stream.write([encode(show(init, "initiator", nonces))], { signal });
    const theirs = await receive(stream, ShownSchema, signal);
    const standing = judge(init, "responder", nonces, theirs);
    await stream.write([encode({ card: init.card() })], { signal });
    return { card: (await receive(stream, WelcomeSchema, signal)).card, standing };
  });
}

/** The same from the side that was dialled. @throws ERR_ADMISSION */
export async function grantMutualAdmission(
  stream: FramedStream,
  init: MutualAdmissionInit,
  admit: (admitted: Admitted) => void,
): Promise<void> {
  await withDeadline(async (signal) => {
    const hello = await receive(stream, HelloSchema, signal);
    const nonce = randomBytes(NONCE_BYTES);
    const nonces = Buffer.concat([hello.nonce, nonce]);
    await stream.write([encode({ nonce })], { signal });
    const theirs = await receive(stream, ShownSchema, signal);
    const standing = judge(init, "initiator", nonces, theirs);
    await stream.write([encode(show(init, "responder", nonces))], { signal });
    const { card } = await receive(stream, WelcomeSchema, signal);
    // Before the own card, after which the dialler opens its streams. Two that are admitted at the same time are
    // told of each other by whoever admits them: the later card names the earlier one.
    admit({ card, standing });
    await stream.write([encode({ card: init.card() })], { signal });
  });
}

type Side = "initiator" | "responder";

function show(
  { credentials, self, remote }: MutualAdmissionInit,
  side: Side,
  nonces: Uint8Array,
): z.infer<typeof ShownSchema> {
  const key = credentials.tokenKey();
  return {
    ...(key === undefined ? {} : { proof: proofOf(DOMAIN, key, side, self, remote, nonces) }),
    ...(credentials.certificate === undefined
      ? {}
      : { certificate: credentials.certificate.document }),
  };
}

/** @throws ERR_ADMISSION when nothing of what was shown admits the peer */
function judge(
  { credentials, self, remote }: MutualAdmissionInit,
  side: Side,
  nonces: Uint8Array,
  { proof, certificate }: z.infer<typeof ShownSchema>,
): Standing {
  const key = credentials.tokenKey();
  const standing = {
    token:
      key !== undefined &&
      proof !== undefined &&
      matches(proof, proofOf(DOMAIN, key, side, remote, self, nonces)),
    certificate: certificate === undefined ? undefined : readable(credentials, certificate, remote),
  };
  if (credentials.admits(remote, standing)) return standing;
  throw refused(
    certificate === undefined
      ? "has neither a certificate of this site nor a token that admits"
      : "has a certificate that has ended, was revoked or is of another site",
  );
}

/** A member of a site that got its key anew shows what can't be read, and may have the token. */
function readable(
  credentials: Pick<Credentials, "read">,
  certificate: Uint8Array,
  remote: string,
): Standing["certificate"] {
  try {
    return credentials.read(certificate, remote);
  } catch {
    return undefined;
  }
}
