import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatRepository,
  parseDistributionPath,
  parseRange,
  resolveNaming,
} from "../src/index.ts";

const sha = `sha256:${"b".repeat(64)}`;

describe("parseDistributionPath", () => {
  it.each([
    ["/v2/", { kind: "base" }],
    [
      "/v2/library/alpine/manifests/3",
      { kind: "manifest", name: "library/alpine", reference: "3" },
    ],
    [`/v2/a/blobs/${sha}`, { kind: "blob", name: "a", digest: sha }],
    [`/v2/a/blobs/${sha.replace(":", "%3A")}`, { kind: "blob", name: "a", digest: sha }],
    ["/v2/a/manifests/manifests/x", { kind: "manifest", name: "a/manifests", reference: "x" }],
    ["/v2/a/tags/list", { kind: "tags", name: "a" }],
    [`/v2/a/referrers/${sha}`, { kind: "referrers", name: "a", digest: sha }],
    ["/v2/a/blobs/uploads/1-2", { kind: "upload", name: "a" }],
    ["/v2/a/../b/manifests/x", undefined],
    ["/v2/a%2fb/manifests/x", undefined],
    ["/v1/search", undefined],
    ["/v2/a/blobs/sha256:short", undefined],
  ])("reads %s", (path, expected) => {
    expect(parseDistributionPath(path)).toEqual(expected);
  });

  it("never throws", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseDistributionPath(`/v2/${text}`);
      }),
    );
  });
});

describe("resolveNaming", () => {
  it.each([
    ["library/alpine", undefined, "docker.io/library/alpine"],
    ["alpine", undefined, "docker.io/library/alpine"],
    ["alpine", "docker.io", "docker.io/library/alpine"],
    ["a/b", "registry.lab:5000", "registry.lab:5000/a/b"],
    ["docker.io/library/alpine", undefined, "docker.io/library/alpine"],
    ["docker.io/alpine", undefined, "docker.io/library/alpine"],
    ["registry.lab_5000/a", undefined, "registry.lab:5000/a"],
    ["10.78.0.2_5000/a/b", undefined, "10.78.0.2:5000/a/b"],
    ["ghcr.io/a/b", undefined, "ghcr.io/a/b"],
    ["grafana/loki", undefined, "docker.io/grafana/loki"],
  ])("%s with ns=%s is %s", (name, ns, expected) => {
    expect(formatRepository(resolveNaming(name, ns))).toBe(expected);
  });

  it("refuses a namespace that is no registry", () => {
    expect(() => resolveNaming("a", "http://evil/")).toThrow(
      expect.objectContaining({ code: "ERR_REGISTRY_INVALID" }),
    );
  });
});

describe("parseRange", () => {
  it.each([
    ["bytes=500-1499", [{ start: 500, end: 1500 }]],
    ["bytes=500-", [{ start: 500, end: 2048 }]],
    ["bytes=-500", [{ start: 1548, end: 2048 }]],
    ["bytes=2000-5000", [{ start: 2000, end: 2048 }]],
    [
      "bytes=0-0,10-19",
      [
        { start: 0, end: 1 },
        { start: 10, end: 20 },
      ],
    ],
    ["bytes=500-0", "unsatisfiable"],
    ["bytes=5000-10000", "unsatisfiable"],
    ["lines=1-2", undefined],
    ["bytes=a-b", undefined],
    ["bytes=-", undefined],
    ["bytes=0-99999999999999999999", [{ start: 0, end: 2048 }]],
    ["bytes=0-,0-", undefined],
  ])("%s of 2048 bytes", (header, expected) => {
    expect(parseRange(header, 2048)).toEqual(expected);
  });

  it("gives only ranges within the body", () => {
    const header = fc.stringMatching(/^bytes=[0-9,-]{0,30}$/);
    fc.assert(
      fc.property(header, fc.nat(5000), (text, size) => {
        const ranges = parseRange(text, size);
        if (typeof ranges !== "object") return;
        for (const { start, end } of ranges)
          expect(start >= 0 && start < end && end <= size).toBe(true);
      }),
    );
  });
});
