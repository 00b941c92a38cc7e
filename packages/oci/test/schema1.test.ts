import * as fc from "fast-check";
import { expect, test } from "vitest";
import { digestOf, isSchema1, schema1Digest } from "../src/index.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64url");

/** The payload with a signature that is good in form; `formatLength` counts bytes. */
function signed(payload: string): Buffer {
  const bytes = Buffer.from(payload);
  const at = bytes.lastIndexOf("\n}");
  const header = JSON.stringify({
    formatLength: at,
    formatTail: bytes.subarray(at).toString("base64url"),
  });
  return Buffer.concat([
    bytes.subarray(0, at),
    Buffer.from(`,\n "signatures": ${JSON.stringify([{ protected: base64(header) }])}\n}`),
  ]);
}

test("a signed manifest has the digest of its payload", () => {
  const payload = '{\n   "schemaVersion": 1,\n   "name": "team/app",\n   "tag": "é"\n}';
  for (const algorithm of ["sha256", "sha512"] as const)
    expect(schema1Digest(signed(payload), algorithm)).toBe(
      digestOf(Buffer.from(payload), algorithm),
    );
});

test("what has no readable signatures has its own digest", () => {
  for (const body of ["{}", "[]", "", '{"signatures":[{"protected":"!"}]}', '{"signatures":[]}'])
    expect(schema1Digest(Buffer.from(body))).toBe(digestOf(Buffer.from(body)));
  const long = base64(JSON.stringify({ formatLength: 1e9, formatTail: "" }));
  const body = Buffer.from(JSON.stringify({ signatures: [{ protected: long }] }));
  expect(schema1Digest(body)).toBe(digestOf(body));
});

test("it never throws", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.json(), (bytes, json) => {
      schema1Digest(bytes);
      schema1Digest(Buffer.from(`{"signatures":[{"protected":"${base64(json)}"}]}`));
    }),
  );
});

test.each([
  ["application/vnd.docker.distribution.manifest.v1+prettyjws", true],
  ["application/vnd.docker.distribution.manifest.v1+json", true],
  ["application/vnd.docker.distribution.manifest.v2+json", false],
])("%s is schema 1: %s", (mediaType, expected) => {
  expect(isSchema1(mediaType)).toBe(expected);
});
