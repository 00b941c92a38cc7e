import { hasCode } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createSiteToken, parseSiteToken, siteOf } from "../src/index.ts";

describe("site token", () => {
  it("is read back as it was printed, in capitals, without dashes and with blanks", () => {
    const token = createSiteToken();
    const forms = [token, token.toUpperCase(), token.replaceAll("-", ""), `  ${token}\n`];
    for (const form of forms) expect(parseSiteToken(form)).toBe(token);
  });

  it("is never the same twice", () => {
    expect(new Set(Array.from({ length: 100 }, createSiteToken)).size).toBe(100);
  });

  it("notices any one letter changed, and any two swapped", () => {
    const token = createSiteToken().replaceAll("-", "");
    fc.assert(
      fc.property(
        fc.integer({ min: 6, max: 44 }),
        fc.constantFrom(..."0123456789abcdefghjkmnpqrstvwxyz".split("")),
        (at, letter) => {
          fc.pre(token[at] !== letter);
          expect(() => parseSiteToken(token.slice(0, at) + letter + token.slice(at + 1))).toThrow(
            expect.objectContaining({ code: "ERR_TOKEN_INVALID" }),
          );
          fc.pre(token[at] !== token[at + 1]);
          const swapped = token.slice(0, at) + token[at + 1]! + token[at]! + token.slice(at + 2);
          expect(() => parseSiteToken(swapped)).toThrow(/mistyped|checksum/);
        },
      ),
    );
  });

  it("counts what is missing", () => {
    expect(() => parseSiteToken(createSiteToken().slice(0, -9))).toThrow(
      "it must have 40 letters and digits after shoal1; this has 32;",
    );
  });

  it("throws nothing but coded errors", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `shoal1${text}`),
        ),
        (text) => {
          try {
            parseSiteToken(text);
          } catch (error) {
            if (!hasCode(error, "ERR_TOKEN_INVALID")) throw error;
          }
        },
      ),
    );
  });

  it("gives two sites different tags, prologues and keys", () => {
    const [a, b] = [siteOf(createSiteToken()), siteOf(createSiteToken())];
    expect(a.serviceTag).not.toBe(b.serviceTag);
    expect(Buffer.compare(a.prologue, b.prologue)).not.toBe(0);
    expect(Buffer.compare(a.admissionKey, b.admissionKey)).not.toBe(0);
  });
});
