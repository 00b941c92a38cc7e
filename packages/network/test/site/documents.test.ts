import { hasCode } from "@shoal/runtime";
import { decode, encode } from "cborg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  LONGEST_CERTIFICATE_MS,
  MAX_CERTIFICATE_BYTES,
  readCertificate,
} from "../../src/site/certificate.ts";
import {
  createNotices,
  MAX_REVOCATIONS,
  signRevocation,
  signTokenEnd,
} from "../../src/site/notices.ts";
import { signDocument } from "../../src/site/signed.ts";
import { createKeyedSite, createPeerId, DAY_MS, NOW_MS } from "./support.ts";

const INVALID = expect.objectContaining({ code: "ERR_SITE_DOCUMENT" });
const peer = await createPeerId();
const other = await createPeerId();

describe("a certificate", () => {
  it("is read back as it was issued", () => {
    const { verifier, certify } = createKeyedSite();
    const names = fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/);
    const lifetimes = fc.integer({ min: 1, max: LONGEST_CERTIFICATE_MS });
    fc.assert(
      fc.property(names, lifetimes, fc.boolean(), (name, lifetimeMs, isIssuer) => {
        const roles = isIssuer ? ["member", "issuer"] : ["member"];
        const issued = certify(peer, { name, roles, notAfterMs: NOW_MS + lifetimeMs });
        expect(readCertificate(issued.document, verifier)).toEqual(issued);
        expect(issued.document.length).toBeLessThan(MAX_CERTIFICATE_BYTES);
      }),
      { numRuns: 30 },
    );
  });

  it("of another key, another site or a longer time than any may have is refused", () => {
    const site = createKeyedSite();
    const issued = site.certify(peer);
    const { key } = createKeyedSite();
    const ofKey = (): unknown =>
      readCertificate(issued.document, { ...site.verifier, publicKey: key.publicKey });
    expect(ofKey).toThrow(INVALID);
    const ofSite = (): unknown =>
      readCertificate(issued.document, { ...site.verifier, id: createKeyedSite().site.id });
    expect(ofSite).toThrow(INVALID);
    const notAfterMs = NOW_MS + LONGEST_CERTIFICATE_MS + 1;
    const { document } = site.certify(peer, { notAfterMs });
    expect(() => readCertificate(document, site.verifier)).toThrow(INVALID);
    const ended = site.certify(peer, { notAfterMs: NOW_MS });
    expect(() => readCertificate(ended.document, site.verifier)).toThrow(INVALID);
  });

  it("has one encoding, and any change of a byte is refused", () => {
    const { verifier, certify } = createKeyedSite();
    const { document } = certify(peer);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: document.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (at, change) => {
          const changed = Uint8Array.from(document);
          changed[at]! ^= change;
          expect(() => readCertificate(changed, verifier)).toThrow(INVALID);
        },
      ),
    );
    const [body, signature] = decode(document) as [Uint8Array, Uint8Array];
    const longer = Buffer.concat([Buffer.from([0x98, 2]), document.subarray(1)]);
    for (const odd of [longer, encode([body, signature, 0]), encode({ body, signature })])
      expect(() => readCertificate(odd, verifier)).toThrow(INVALID);
  });

  it("is never taken for what it is not", () => {
    const { verifier, site, key, certify } = createKeyedSite();
    const revocation = signRevocation(key, site.id, { peer, beforeMs: NOW_MS });
    expect(() => readCertificate(revocation, verifier)).toThrow(INVALID);
    expect(() => createNotices(verifier).merge([certify(peer).document])).toThrow(INVALID);
    const unnamed = signDocument(
      ["shoal/certificate/1", site.id, peer, "a b", ["member"], 1, 2],
      key.sign,
    );
    expect(() => readCertificate(unnamed, verifier)).toThrow(INVALID);
  });

  it("throws nothing but coded errors at whatever is not one", () => {
    const { verifier, key } = createKeyedSite();
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 2 * MAX_CERTIFICATE_BYTES }),
      fc.anything({ maxDepth: 2 }).map((value) => encodable(value)),
      fc.array(fc.oneof(fc.string(), fc.nat())).map((body) => signDocument(body, key.sign)),
    );
    const read = [
      (bytes: Uint8Array): unknown => readCertificate(bytes, verifier),
      (bytes: Uint8Array): unknown => createNotices(verifier).merge([bytes]),
    ];
    fc.assert(
      fc.property(anything, fc.constantFrom(...read), (bytes, parse) => {
        try {
          parse(bytes);
          expect.unreachable();
        } catch (error) {
          if (!hasCode(error, "ERR_SITE_DOCUMENT")) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

function encodable(value: unknown): Uint8Array {
  try {
    return encode([encode(value), new Uint8Array(64)]);
  } catch {
    return new Uint8Array();
  }
}

describe("notices", () => {
  it("end certificates up to a time, so that a machine can come back with a new one", () => {
    const { verifier, site, key, certify } = createKeyedSite();
    const notices = createNotices(verifier);
    expect(notices.merge([signRevocation(key, site.id, { peer, beforeMs: NOW_MS })])).toBe(true);
    expect(notices.isRevoked(certify(peer))).toBe(true);
    expect(notices.isRevoked(certify(peer, { issuedAtMs: NOW_MS + 1 }))).toBe(false);
    expect(notices.isRevoked(certify(other))).toBe(false);
    expect(notices.revocationOf(peer)).toMatchObject({ peer, beforeMs: NOW_MS });
  });

  it("come to the same whoever hears of them, in whatever order and however often", () => {
    const { verifier, site, key } = createKeyedSite();
    const documents = [
      ...[1, 2, 3].map((beforeMs) => signRevocation(key, site.id, { peer, beforeMs })),
      signRevocation(key, site.id, { peer: other, beforeMs: 2 }),
      ...[5, 9].map((atMs) => signTokenEnd(key, site.id, atMs)),
    ];
    const whole = createNotices(verifier);
    whole.merge(documents);
    expect(whole.documents).toHaveLength(3);
    expect(whole.tokenEndedMs).toBe(5);
    fc.assert(
      fc.property(fc.shuffledSubarray(documents, { minLength: documents.length }), (order) => {
        const notices = createNotices(verifier);
        for (const document of order) notices.merge([document, order[0]!]);
        expect(notices.digest).toEqual(whole.digest);
        expect(notices.merge(documents)).toBe(false);
      }),
      { numRuns: 20 },
    );
  });

  it("are taken all or none", () => {
    const { verifier, site, key } = createKeyedSite();
    const notices = createNotices(verifier);
    const right = signRevocation(key, site.id, { peer, beforeMs: 1 });
    const wrong = signRevocation(createKeyedSite().key, site.id, { peer: other, beforeMs: 1 });
    expect(() => notices.merge([right, wrong])).toThrow(INVALID);
    expect(notices.documents).toEqual([]);
  });

  it("keep the newest thousand revocations", { timeout: 60_000 }, async () => {
    const { verifier, site, key } = createKeyedSite();
    const peers = await Promise.all(Array.from({ length: MAX_REVOCATIONS + 2 }, createPeerId));
    const documents = peers.map((each, i) =>
      signRevocation(key, site.id, { peer: each, beforeMs: i * DAY_MS }),
    );
    const [all, backwards] = [createNotices(verifier), createNotices(verifier)];
    all.merge(documents);
    for (const document of documents.toReversed().slice(0, 5)) backwards.merge([document]);
    backwards.merge(documents);
    expect(all.revocations).toHaveLength(MAX_REVOCATIONS);
    expect(all.revocationOf(peers[1]!)).toBeUndefined();
    expect(all.revocationOf(peers[2]!)).toBeDefined();
    expect(backwards.digest).toEqual(all.digest);
  });
});
