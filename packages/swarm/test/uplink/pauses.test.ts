import { parseRegistryHost } from "@shoal/oci";
import { expect, it } from "vitest";
import { testPeerId } from "../../src/testing.ts";
import { createPauses, MAX_PAUSE_MS } from "../../src/uplink/pauses.ts";

const registry = parseRegistryHost("registry.test");
const [a, b, c] = ["a", "b", "c"].map(testPeerId) as [never, never, never];

it("keeps a pause until it ends, and takes a shorter one for no news", () => {
  const pauses = createPauses();
  expect(pauses.begin(registry, 5000, "limited", 0)).toBe(true);
  expect(pauses.begin(registry, 4000, "limited", 900)).toBe(false);
  expect(pauses.of(registry, 1000)).toEqual({ leftMs: 4000, cause: "limited" });
  expect(pauses.list(1000)).toHaveLength(1);
  expect(pauses.of(registry, 5000)).toBeUndefined();
});

it("takes nobody at its word for longer than six hours", () => {
  const pauses = createPauses();
  pauses.begin(registry, 1e12, "limited", 0);
  expect(pauses.of(registry, 0)?.leftMs).toBe(MAX_PAUSE_MS);
});

it("pauses when half of the site can't reach a registry, longer each time, not for one alone", () => {
  const pauses = createPauses();
  for (let nowMs = 0; nowMs < 60_000; nowMs += 1000)
    expect(pauses.failing(registry, a, 4, nowMs)).toBeUndefined();
  expect(pauses.failing(registry, b, 4, 60_000)).toBe(500);
  expect(pauses.failing(registry, b, 4, 61_000)).toBeUndefined();
  expect(pauses.failing(registry, c, 4, 62_000)).toBe(1000);
});

it("forgets failures that are far apart", () => {
  const pauses = createPauses();
  expect(pauses.failing(registry, a, 2, 0)).toBeUndefined();
  expect(pauses.failing(registry, b, 2, 20_000)).toBeUndefined();
});
