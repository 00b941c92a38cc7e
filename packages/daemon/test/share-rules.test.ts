import { parseReference, resolveNaming } from "@shoal/oci";
import { describe, expect, it } from "vitest";
import { createShareRules } from "../src/share-rules.ts";

describe("share rules", () => {
  const shared = (rules: Parameters<typeof createShareRules>[0], reference: string): boolean =>
    createShareRules(rules)(parseReference(reference).repository) !== "never";

  it("shares what no rule is about", () => {
    expect(shared([], "alpine")).toBe(true);
    expect(shared([{ registry: "ghcr.io", share: "never" }], "alpine")).toBe(true);
  });

  it.each([
    ["ghcr.io", "GHCR.io"],
    ["docker.io", "index.docker.io"],
    ["docker.io", "registry-1.docker.io"],
  ])("protects %s however it is written: %s", (registry, written) => {
    expect(shared([{ registry: written, share: "never" }], `${registry}/org/app`)).toBe(false);
  });

  it("protects an official image by its short name", () => {
    const rules = [{ registry: "docker.io", repository: "alpine", share: "never" }] as const;
    expect(shared(rules, "alpine")).toBe(false);
    expect(shared(rules, "docker.io/library/alpine:3")).toBe(false);
    expect(shared(rules, "docker.io/org/alpine")).toBe(true);
  });

  it("takes a prefix as whole folders", () => {
    const rules = [{ registry: "ghcr.io", repository: "org/*", share: "never" }] as const;
    expect(shared(rules, "ghcr.io/org/a/b")).toBe(false);
    expect(shared(rules, "ghcr.io/organisation/a")).toBe(true);
    expect(shared(rules, "ghcr.io/org")).toBe(true);
  });

  it("lets the first rule that fits count", () => {
    const rules = [
      { registry: "ghcr.io", repository: "org/open", share: "site" },
      { registry: "ghcr.io", share: "never" },
    ] as const;
    expect(shared(rules, "ghcr.io/org/open")).toBe(true);
    expect(shared(rules, "ghcr.io/org/other")).toBe(false);
  });

  it("protects a repository of a registry whose name has no dot", () => {
    const may = createShareRules([{ registry: "myreg", repository: "secret", share: "never" }]);
    expect(may(resolveNaming("secret", "myreg"))).toBe("never");
    expect(may(resolveNaming("other", "myreg"))).toBe("site");
  });

  it("keeps ports apart", () => {
    const rules = [{ registry: "registry.lab:5000", repository: "app", share: "never" }] as const;
    expect(shared(rules, "registry.lab:5000/app")).toBe(false);
    expect(shared(rules, "registry.lab:5001/app")).toBe(true);
  });
});
