import { hasCode } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatPlatform,
  MEDIA_TYPES,
  parseManifest,
  parsePlatform,
  selectPlatform,
} from "../src/index.ts";

const sha = `sha256:${"c".repeat(64)}`;
const blob = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: sha, size: 10 };
const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

describe("parseManifest", () => {
  it("reads a manifest without a mediaType by its Content-Type", () => {
    const body = bytes({ schemaVersion: 2, config: blob, layers: [blob] });
    const parsed = parseManifest(body, `${MEDIA_TYPES.ociManifest}; charset=utf-8`);
    expect(parsed).toMatchObject({ kind: "manifest", blobs: [blob, blob] });
  });

  it("reads an index", () => {
    const child = { ...blob, platform: { os: "linux", architecture: "arm64" } };
    const body = bytes({ mediaType: MEDIA_TYPES.ociIndex, manifests: [child] });
    expect(parseManifest(body, "")).toMatchObject({ kind: "index", manifests: [child] });
  });

  it("refuses a body that is both", () => {
    const both = bytes({ mediaType: MEDIA_TYPES.ociIndex, manifests: [], layers: [] });
    expect(() => parseManifest(both, "")).toThrow(/at once/);
  });

  it.each([
    [{ config: blob, layers: [{ ...blob, size: -1 }] }, "ERR_MANIFEST_INVALID"],
    [{ config: blob, layers: [{ ...blob, size: 1.5 }] }, "ERR_MANIFEST_INVALID"],
    [{ config: blob, layers: [{ ...blob, digest: "md5:1" }] }, "ERR_MANIFEST_INVALID"],
    [{ config: null, layers: [] }, "ERR_MANIFEST_INVALID"],
    [{ config: blob, layers: {} }, "ERR_MANIFEST_INVALID"],
    [[], "ERR_MANIFEST_INVALID"],
  ])("refuses %j", (value, code) => {
    expect(() => parseManifest(bytes(value), MEDIA_TYPES.ociManifest)).toThrow(
      expect.objectContaining({ code }),
    );
  });

  it("refuses a body that is both to a reader that ignores case, known or not", () => {
    const folded = bytes({ config: blob, layers: [], Manifests: [] });
    expect(() => parseManifest(folded, MEDIA_TYPES.ociManifest)).toThrow(/at once/);
    expect(() => parseManifest(folded, "x/y")).toThrow(/at once/);
  });

  it("takes the body's word before the Content-Type, unless it says nothing known", () => {
    const index = bytes({ mediaType: MEDIA_TYPES.ociIndex, manifests: null });
    expect(parseManifest(index, MEDIA_TYPES.ociManifest)).toMatchObject({ kind: "index" });
    const odd = bytes({ mediaType: "x/y", config: blob, layers: null, subject: null });
    expect(parseManifest(odd, MEDIA_TYPES.ociManifest)).toMatchObject({ kind: "manifest" });
  });

  it.each(["constructor", "__proto__", "toString"])("has no kind for %s", (type) => {
    expect(parseManifest(bytes({}), type).kind).toBe("opaque");
  });

  it("takes deep nesting and refuses what is too large", () => {
    const deep = "[".repeat(1_000_000);
    expect(parseManifest(Buffer.from(deep), "x/y").kind).toBe("opaque");
    expect(() => parseManifest(new Uint8Array(4 * 1024 * 1024 + 1), "x/y")).toThrow(
      expect.objectContaining({ code: "ERR_MANIFEST_TOO_LARGE" }),
    );
  });

  it("passes what it does not know as opaque", () => {
    expect(parseManifest(Buffer.from("<html>"), "text/html").kind).toBe("opaque");
    const schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    expect(parseManifest(bytes({ schemaVersion: 1 }), schema1).kind).toBe("opaque");
  });

  it("throws nothing but coded errors", () => {
    fc.assert(
      fc.property(
        fc.json(),
        fc.constantFrom(...Object.values(MEDIA_TYPES), "x/y"),
        (text, type) => {
          try {
            parseManifest(Buffer.from(text), type);
          } catch (error) {
            if (!hasCode(error)) throw error;
          }
        },
      ),
    );
  });
});

describe("platforms", () => {
  const offered = (text: string) => ({
    ...blob,
    digest: sha as never,
    platform: parsePlatform(text),
  });

  it.each([
    ["linux/x86_64", "linux/amd64"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/arm64/v8", "linux/arm64"],
    ["linux/armhf", "linux/arm/v7"],
    ["linux/arm/7", "linux/arm/v7"],
    ["linux/amd64/v1", "linux/amd64"],
    ["linux/constructor", "linux/constructor"],
  ])("reads %s as %s", (text, expected) => {
    expect(formatPlatform(parsePlatform(text))).toBe(expected);
  });

  it.each(["linux", "linux/", "a/b/c/d", "linux/<x>"])("refuses %s", (text) => {
    expect(() => parsePlatform(text)).toThrow(
      expect.objectContaining({ code: "ERR_PLATFORM_INVALID" }),
    );
  });

  it("selects the exact variant, else the next lower, never an attestation", () => {
    const list = [
      "unknown/unknown",
      "linux/arm/v6",
      "linux/arm/v7",
      "linux/arm64",
      "linux/amd64",
    ].map(offered);
    const chosen = (text: string) => {
      const found = selectPlatform(list, parsePlatform(text));
      return found?.platform && formatPlatform(found.platform);
    };
    expect(chosen("linux/arm/v7")).toBe("linux/arm/v7");
    expect(chosen("linux/arm/v6")).toBe("linux/arm/v6");
    expect(chosen("linux/arm64/v8")).toBe("linux/arm64");
    expect(chosen("linux/amd64")).toBe("linux/amd64");
    expect(chosen("linux/s390x")).toBeUndefined();
    expect(chosen("unknown/unknown")).toBeUndefined();
    expect(chosen("linux/arm/v5")).toBeUndefined();
    const narrow = [offered("linux/386"), offered("linux/arm/v6")];
    expect(selectPlatform(narrow, parsePlatform("linux/amd64"))).toBe(narrow[0]);
    expect(selectPlatform(narrow, parsePlatform("linux/arm64"))).toBe(narrow[1]);
  });

  it("formats to what it parses again", () => {
    const part = fc.stringMatching(/^[a-zA-Z0-9._-]{1,12}$/);
    fc.assert(
      fc.property(fc.array(part, { minLength: 2, maxLength: 3 }), (parts) => {
        const platform = parsePlatform(parts.join("/"));
        expect(parsePlatform(formatPlatform(platform))).toEqual(platform);
      }),
    );
  });
});
