import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { makeRoom } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";

/** Of Ed25519, RFC 8032. */
const SIGNATURE_BYTES = 64;
const SEED_BYTES = 32;
/** What stands before a key's 32 bytes in PKCS #8 and in SubjectPublicKeyInfo, RFC 8410. */
const PRIVATE_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
/** Signers whose keys are kept ready. */
const MAX_KEYS = 1024;
/** In letters; one of an Ed25519 key has 52, or 59 as a CID. */
const MAX_PEER_ID_LENGTH = 64;

/** The peer id in `text`, when it is that of an Ed25519 key. */
export function parsePeerId(text: string): PeerIdString | undefined {
  // Reading base 58 takes as long as its length squared.
  if (text.length > MAX_PEER_ID_LENGTH) return undefined;
  try {
    const id = peerIdFromString(text);
    return id.type === "Ed25519" ? (id.toString() as PeerIdString) : undefined;
  } catch {
    // Others' text: that it is no peer id is an answer.
    return undefined;
  }
}

/** Signs with this machine's key. */
export function createSigner(privateKey: PrivateKey): (message: Uint8Array) => Uint8Array {
  return signerOf(privateKey.raw.subarray(0, SEED_BYTES));
}

/** Signs with the Ed25519 key whose 32 bytes of seed these are. */
export function signerOf(seed: Uint8Array): (message: Uint8Array) => Uint8Array {
  const der = Buffer.concat([PRIVATE_PREFIX, seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return (message) => sign(null, message, key);
}

/** The 32 bytes of the public key that belongs to a seed. */
export function publicKeyOfSeed(seed: Uint8Array): Uint8Array {
  const der = Buffer.concat([PRIVATE_PREFIX, seed]);
  const key = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
  return new Uint8Array(key.export({ format: "der", type: "spki" })).subarray(PUBLIC_PREFIX.length);
}

/** Whether a signature of the message was made with the key of these 32 public bytes. */
export function isSignedBy(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  return (
    signature.length === SIGNATURE_BYTES && verify(null, message, keyObjectOf(publicKey), signature)
  );
}

/** Whether a signature of the message is the peer's. Each peer's key is parsed once: that costs more than a hash. */
export function createVerifier(): (
  peer: string,
  message: Uint8Array,
  signature: Uint8Array,
) => boolean {
  const keys = new Map<string, KeyObject | undefined>();

  function keyOf(peer: string): KeyObject | undefined {
    if (keys.has(peer)) return keys.get(peer);
    const key = publicKeyOf(peer);
    makeRoom(keys, MAX_KEYS);
    keys.set(peer, key);
    return key;
  }

  return (peer, message, signature) => {
    if (signature.length !== SIGNATURE_BYTES) return false;
    const key = keyOf(peer);
    return key !== undefined && verify(null, message, key, signature);
  };
}

function publicKeyOf(peer: string): KeyObject | undefined {
  if (parsePeerId(peer) === undefined) return undefined;
  const raw = peerIdFromString(peer).publicKey?.raw;
  return raw === undefined ? undefined : keyObjectOf(raw);
}

function keyObjectOf(raw: Uint8Array): KeyObject {
  const der = Buffer.concat([PUBLIC_PREFIX, raw]);
  return createPublicKey({ key: der, format: "der", type: "spki" });
}
