import { generateKeyPair } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { describe, expect, it } from "vitest";
import { createEphemeralIdentity } from "../src/index.ts";
import { createSigner, createVerifier, parsePeerId } from "../src/signatures.ts";

const message = Buffer.from("a piece");

describe("signatures", () => {
  it("are libp2p's own, both ways", async () => {
    const { privateKey, peerId } = await createEphemeralIdentity();
    const verify = createVerifier();
    expect(await privateKey.publicKey.verify(message, createSigner(privateKey)(message))).toBe(
      true,
    );
    expect(verify(peerId, message, await privateKey.sign(message))).toBe(true);
  });

  it("are refused when the message, the signer or the length is another", async () => {
    const { privateKey, peerId } = await createEphemeralIdentity();
    const other = await createEphemeralIdentity();
    const verify = createVerifier();
    const signature = createSigner(privateKey)(message);
    expect(verify(peerId, Buffer.from("another"), signature)).toBe(false);
    expect(verify(other.peerId, message, signature)).toBe(false);
    expect(verify(peerId, message, signature.subarray(1))).toBe(false);
  });

  it("take no time over long text, whose base 58 would cost the square of its length", () => {
    const startMs = performance.now();
    for (let times = 0; times < 100; times++)
      expect(parsePeerId("12D3KooW".repeat(8_000))).toBeUndefined();
    expect(performance.now() - startMs).toBeLessThan(1000);
  });

  it("of what is no peer id, or of another kind of key, are refused", async () => {
    const secp256k1 = peerIdFromPrivateKey(await generateKeyPair("secp256k1")).toString();
    const verify = createVerifier();
    for (const peer of ["", "12D3KooW", "x".repeat(10_000), secp256k1]) {
      expect(parsePeerId(peer)).toBeUndefined();
      expect(verify(peer, message, new Uint8Array(64))).toBe(false);
    }
  });
});
