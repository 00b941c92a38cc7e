import { CodedError } from "@shoal/runtime";
import { encode } from "cborg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { FramedStream } from "../../src/frames.ts";
import { createEphemeralIdentity } from "../../src/index.ts";
import { createCredentials } from "../../src/site/credentials.ts";
import { askToJoin, grantJoin } from "../../src/site/join-exchange.ts";
import { createJoinToken, parseJoinToken } from "../../src/site/join-token.ts";
import { grantMutualAdmission, requestMutualAdmission } from "../../src/site/mutual-admission.ts";
import { createIssuer } from "./certified.ts";
import { createKeyedSite } from "./support.ts";

const { peerId: self } = await createEphemeralIdentity();
const { peerId: remote } = await createEphemeralIdentity();
const site = createKeyedSite();
const token = parseJoinToken(createJoinToken(site.site, site.key.publicKey));
const issuer = createIssuer(site, new Map([[token.id, token.publicKey]]));
const credentials = createCredentials({
  self,
  record: {
    site: site.site,
    publicKey: site.key.publicKey,
    certificate: site.certify(self, { roles: ["member", "issuer"] }).document,
    notices: [],
  },
  tokenKey: site.site.admissionKey,
  now: () => Date.now(),
});

/** A peer that says these frames one after another, whatever it is told. */
function createSpeaker(
  frames: readonly Uint8Array[],
): FramedStream & { readonly told: Uint8Array[] } {
  const told: Uint8Array[] = [];
  const left = [...frames];
  return {
    told,
    open: true,
    signal: new AbortController().signal,
    fault: undefined,
    copies: true,
    read: async () => left.shift(),
    write: async (parts) => void told.push(Buffer.concat(parts)),
    abort: () => undefined,
  };
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  fc.constantFrom(32, 64, 200, 2000).map((length) => new Uint8Array(length)),
);
const value = fc.oneof(bytes, fc.string(), fc.integer(), fc.constant(token.id), fc.boolean());
const keys = ["nonce", "proof", "certificate", "card", "token", "site", "key", "name", "signature"];
const frame = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc.dictionary(fc.constantFrom(...keys), value).map((map) => encode(map)),
  fc.constantFrom(
    encode({ nonce: new Uint8Array(32) }),
    encode({ token: token.id, nonce: new Uint8Array(32) }),
    encode({ proof: new Uint8Array(32) }),
    encode({ certificate: credentials.certificate!.document }),
    encode({ card: { addresses: [], roster: [] } }),
    encode({ name: "machine", signature: new Uint8Array(64) }),
  ),
);
const speech = fc.array(frame, { maxLength: 4 });

describe("whatever is said to it", () => {
  const card = () => ({ addresses: ["/ip4/10.0.0.1/tcp/5056"], roster: [] });
  const admission = { credentials, self, remote, card };
  const join = {
    issuer,
    record: credentials.record(),
    siteToken: site.token,
    self,
    remote,
    afterMs: 0,
    revocationOf: () => undefined,
  };
  const asked = { token, name: "joiner", self, remote, now: () => Date.now() };

  it.each([
    [
      "who is dialled tells a nonce and no more",
      (stream: FramedStream) => grantMutualAdmission(stream, admission, () => expect.unreachable()),
      (told: readonly Uint8Array[]) => told.length <= 1 && told.every(({ length }) => length < 50),
    ],
    [
      "who dials tells no card",
      (stream: FramedStream) => requestMutualAdmission(stream, admission),
      (told: readonly Uint8Array[]) =>
        told.every((each) => !Buffer.from(each).includes("10.0.0.1")),
    ],
    [
      "an issuer gives no certificate",
      (stream: FramedStream) => grantJoin(stream, join),
      (told: readonly Uint8Array[]) => told.length <= 1 && issuer.given.length === 0,
    ],
    [
      "a joiner signs nothing",
      (stream: FramedStream) => askToJoin(stream, asked),
      (told: readonly Uint8Array[]) => told.length === 1,
    ],
  ])("%s, and ends with ERR_ADMISSION", async (_name, run, isRight) => {
    await fc.assert(
      fc.asyncProperty(speech, async (frames) => {
        const stream = createSpeaker(frames);
        const error: unknown = await run(stream).then(
          () => undefined,
          (failure: unknown) => failure,
        );
        expect(error).toBeInstanceOf(CodedError);
        expect(error).toMatchObject({ code: "ERR_ADMISSION" });
        expect(isRight(stream.told)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});
