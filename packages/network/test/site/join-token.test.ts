import { hasCode } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSignedBy } from "../../src/signatures.ts";
import { createJoinToken, isJoinToken, parseJoinToken } from "../../src/site/join-token.ts";
import { fingerprintOf } from "../../src/site/site-key.ts";
import { createKeyedSite } from "./support.ts";

describe("a join token", () => {
  it("tells where the site is met, whom to believe, and signs", () => {
    const { site, key } = createKeyedSite();
    const text = createJoinToken(site, key.publicKey);
    expect(isJoinToken(text)).toBe(true);
    for (const form of [text, text.toUpperCase(), ` ${text.replaceAll("-", "")}\n`]) {
      const token = parseJoinToken(form);
      expect(token.site).toEqual({ serviceTag: site.serviceTag, prologue: site.prologue });
      expect(token.fingerprint).toEqual(fingerprintOf(key.publicKey));
      const message = Buffer.from("message");
      expect(isSignedBy(token.publicKey, message, token.sign(message))).toBe(true);
      expect(token.id).toBe(parseJoinToken(text).id);
    }
    expect(parseJoinToken(createJoinToken(site, key.publicKey)).id).not.toBe(
      parseJoinToken(text).id,
    );
  });

  it("notices any letter changed, and counts what is missing", () => {
    const { site, key } = createKeyedSite();
    const text = createJoinToken(site, key.publicKey).replaceAll("-", "");
    fc.assert(
      fc.property(
        fc.integer({ min: "shoaljoin1".length, max: text.length - 1 }),
        fc.constantFrom(..."0123456789abcdefghjkmnpqrstvwxyz".split("")),
        (at, letter) => {
          fc.pre(text[at] !== letter);
          expect(() => parseJoinToken(text.slice(0, at) + letter + text.slice(at + 1))).toThrow(
            expect.objectContaining({ code: "ERR_TOKEN_INVALID" }),
          );
        },
      ),
    );
    expect(() => parseJoinToken(text.slice(0, -8))).toThrow("must have 120 letters and digits");
  });

  it("throws nothing but coded errors", () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), (tail, prefixed) => {
        try {
          parseJoinToken(prefixed ? `shoaljoin1${tail}` : tail);
          expect.unreachable();
        } catch (error) {
          if (!hasCode(error, "ERR_TOKEN_INVALID")) throw error;
        }
      }),
    );
  });
});
