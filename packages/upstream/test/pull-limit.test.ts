import { parseReference } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { expect, test } from "vitest";
import { createUpstream } from "../src/index.ts";
import { readPullLimit } from "../src/pull-limit.ts";
import { createScriptedRegistry } from "../src/testing.ts";

test.each([
  ["100;w=21600", "76;w=21600", { limit: 100, remaining: 76, windowSeconds: 21_600 }],
  ["100 ; w=21600", "0", { limit: 100, remaining: 0, windowSeconds: 21_600 }],
  ["200", "199", { limit: 200, remaining: 199 }],
  ["100", undefined, undefined],
  [undefined, "3", undefined],
  ["unlimited", "3", undefined],
  ["-1", "3", undefined],
])("readPullLimit reads %s and %s", (limit, remaining, expected) => {
  expect(readPullLimit({ "ratelimit-limit": limit, "ratelimit-remaining": remaining })).toEqual(
    expected,
  );
});

test("Docker Hub's limit is measured, with each manifest, and no other registry's", async () => {
  await using registry = await createScriptedRegistry();
  registry.addImage("library/alpine", "latest", []);
  let left = 76;
  registry.script(() => ({
    headers: { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": `${left--};w=21600` },
  }));
  const measured: unknown[] = [];
  const gauge = ({ name }: { readonly name: string }) => ({
    set: (value: number, labels = {}) => measured.push([name, value, labels]),
  });
  await using upstream = createUpstream(
    { clock: systemClock, logger: silentLogger, metrics: { ...noMetrics, gauge } },
    {
      userAgent: "shoal/test",
      registries: { "docker.io": { endpoint: registry.origin }, [registry.registry]: {} },
    },
  );
  const { repository, tag } = parseReference("alpine:latest");
  await upstream.manifest(repository, tag!);
  await upstream.headManifest(repository, tag!);
  await upstream.manifest(registry.repository("library/alpine"), tag!);
  const labels = { registry: "docker.io" };
  expect(measured).toEqual([
    ["shoal_upstream_pulls_limit", 100, labels],
    ["shoal_upstream_pulls_remaining", 76, labels],
    ["shoal_upstream_pulls_limit", 100, labels],
    ["shoal_upstream_pulls_remaining", 75, labels],
  ]);
  expect(upstream.health()).toMatchObject([
    { registry: "docker.io", pullLimit: { limit: 100, remaining: 75, windowSeconds: 21_600 } },
    { pullLimit: { remaining: 74 } },
  ]);
});
