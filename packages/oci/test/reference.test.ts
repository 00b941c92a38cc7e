import { hasCode } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatReference, parseReference } from "../src/index.ts";

const sha = `sha256:${"a".repeat(64)}`;

describe("parseReference", () => {
  it.each([
    ["alpine", "docker.io/library/alpine:latest"],
    ["alpine:3.20", "docker.io/library/alpine:3.20"],
    ["grafana/loki", "docker.io/grafana/loki:latest"],
    ["index.docker.io/alpine", "docker.io/library/alpine:latest"],
    ["localhost/foo", "localhost/foo:latest"],
    ["localhost:5000/foo", "localhost:5000/foo:latest"],
    ["[::1]:5000/foo", "[::1]:5000/foo:latest"],
    ["Ghcr.IO/a/b/c:v1", "ghcr.io/a/b/c:v1"],
    [`registry.lab:5000/a/b@${sha}`, `registry.lab:5000/a/b@${sha}`],
    [`alpine:3@${sha}`, `docker.io/library/alpine:3@${sha}`],
  ])("reads %s as %s", (text, canonical) => {
    expect(formatReference(parseReference(text))).toBe(canonical);
    expect(parseReference(canonical)).toEqual(parseReference(text));
  });

  it.each([
    ["", "ERR_REFERENCE_INVALID"],
    ["a b", "ERR_REFERENCE_INVALID"],
    ["https://ghcr.io/a", "ERR_REFERENCE_INVALID"],
    [`@${sha}`, "ERR_REFERENCE_INVALID"],
    ["Alpine", "ERR_REPOSITORY_INVALID"],
    ["ghcr.io/a//b", "ERR_REPOSITORY_INVALID"],
    ["../../etc/passwd", "ERR_REGISTRY_INVALID"],
    ["alpine:", "ERR_TAG_INVALID"],
    [`alpine:${"a".repeat(129)}`, "ERR_TAG_INVALID"],
    ["alpine@sha256:abc", "ERR_DIGEST_INVALID"],
    ["ghcr.io:99999/a", "ERR_REGISTRY_INVALID"],
    ["Grafana/loki", "ERR_REPOSITORY_INVALID"],
    ["[::::]:5000/a", "ERR_REGISTRY_INVALID"],
    ["a:".repeat(500_000), "ERR_REFERENCE_INVALID"],
  ])("refuses %.40j for %s", (text, code) => {
    const partly = code === "ERR_REFERENCE_INVALID" ? {} : { cause: { code } };
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: "ERR_REFERENCE_INVALID" }),
    );
    try {
      parseReference(text);
    } catch (error) {
      expect(error).toMatchObject(partly);
    }
  });

  it("throws nothing but coded errors, and formats to what it parses again", () => {
    const part = fc.stringMatching(/^[a-zA-Z0-9_.:@/-]{0,40}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), part), (text) => {
        try {
          const reference = parseReference(text);
          expect(parseReference(formatReference(reference))).toEqual(reference);
        } catch (error) {
          if (!hasCode(error)) throw error;
        }
      }),
    );
  });
});
