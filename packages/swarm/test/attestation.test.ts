import { digestOf } from "@shoal/oci";
import { type PieceIndex, pieceGeometry } from "@shoal/store";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createNotary, promisedHash } from "../src/attestation.ts";
import { createMemorySite } from "../src/testing.ts";

const blob = { digest: digestOf(Buffer.from("blob")), sizeBytes: 100 * 256 * 1024 };
const { pieceCount } = pieceGeometry(blob.sizeBytes);
const source = fc.constantFrom("upstream" as const, "holder" as const);
const hashes = (count: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: 32 * count, maxLength: 32 * count });
const claim = fc.nat(pieceCount - 1).chain((first) =>
  fc.record({
    first: fc.constant(first as PieceIndex),
    source,
    hashes: fc.integer({ min: 1, max: Math.min(16, pieceCount - first) }).chain(hashes),
  }),
);

describe("attestations", () => {
  const site = createMemorySite();
  const signer = createNotary(site.join("signer"));
  const reader = createNotary(site.join("reader"));

  it("are believed by whoever knows the signer's name, and promise a hash for each of their pieces", async () => {
    await fc.assert(
      fc.asyncProperty(claim, async (said) => {
        const attestation = await signer.sign(blob, said.first, said.hashes, said.source);
        expect(await reader.verify(blob, attestation)).toBe(true);
        const count = said.hashes.length / 32;
        for (let i = 0; i < count; i++)
          expect(promisedHash(attestation, (said.first + i) as PieceIndex)).toEqual(
            said.hashes.subarray(i * 32, i * 32 + 32),
          );
        for (const other of [said.first - 1, said.first + count])
          expect(promisedHash(attestation, other as PieceIndex)).toBeUndefined();
      }),
    );
  });

  it("are not believed with anything in them changed, nor of another blob or signer", async () => {
    await fc.assert(
      fc.asyncProperty(claim, fc.nat(), async (said, seed) => {
        const attestation = await signer.sign(blob, said.first, said.hashes, said.source);
        const turn = (bytes: Uint8Array): Uint8Array => {
          const turned = Uint8Array.from(bytes);
          turned[seed % turned.length]! ^= 1 << (seed % 8);
          return turned;
        };
        const forged = [
          { ...attestation, first: attestation.first + 1 },
          { ...attestation, hashes: turn(attestation.hashes) },
          { ...attestation, hashes: attestation.hashes.subarray(1) },
          { ...attestation, hashes: new Uint8Array() },
          { ...attestation, source: said.source === "holder" ? "upstream" : "holder" } as const,
          { ...attestation, signature: turn(attestation.signature) },
          { ...attestation, signature: new Uint8Array() },
          { ...attestation, signer: reader.self },
        ];
        for (const one of forged) expect(await reader.verify(blob, one)).toBe(false);
        const other = { ...blob, sizeBytes: blob.sizeBytes - 1 };
        expect(await reader.verify(other, attestation)).toBe(false);
      }),
    );
  });

  it("count in their own site only", async () => {
    const transport = createMemorySite().join("reader");
    const elsewhere = createNotary({ ...transport, site: "another" });
    const attestation = await signer.sign(blob, 0 as PieceIndex, new Uint8Array(32), "upstream");
    expect(await elsewhere.verify(blob, attestation)).toBe(false);
  });
});
