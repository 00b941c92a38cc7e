import type { LookupAddress } from "node:dns";
import { parseRegistryHost, parseRepositoryName, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { describe, expect, test } from "vitest";
import { createUpstream, type UpstreamInit } from "../src/index.ts";
import { createScriptedRegistry } from "../src/testing.ts";

const TAG = parseTag("v1");

/** An upstream whose DNS knows these addresses for every name. */
function upstreamAt(addresses: readonly string[], init: Partial<UpstreamInit> = {}) {
  const looked: string[] = [];
  const upstream = createUpstream(
    {
      clock: systemClock,
      logger: silentLogger,
      metrics: noMetrics,
      lookup: (host, options, callback) => {
        looked.push(host);
        const found: LookupAddress[] = addresses.map((address) => ({
          address,
          family: address.includes(":") ? 6 : 4,
        }));
        if (options.all === true) callback(null, found);
        else callback(null, found[0]!.address, found[0]!.family);
      },
    },
    {
      userAgent: "shoal/test",
      retry: { tries: 1, baseMs: 1 },
      timeouts: { connectMs: 300 },
      ...init,
    },
  );
  return { upstream, looked };
}

const named = (host: string) => ({
  registry: parseRegistryHost(host),
  name: parseRepositoryName("team/app"),
});

describe("an address inside", () => {
  test.each([
    "127.0.0.1:5000",
    "localhost:5000",
    "[::1]:5000",
    "10.0.0.1",
    "169.254.169.254",
    "[fd00::1]:5000",
  ])("is refused for %s unless configured, with the line to write", async (host) => {
    const { upstream } = upstreamAt(["127.0.0.1"]);
    await using _upstream = upstream;
    await expect(upstream.manifest(named(host), TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
      message: expect.stringContaining(`registries: {"${host}": {}}`) as string,
    });
  });

  test("is refused with the file to write into, and what else a registry without TLS needs", async () => {
    const { upstream } = upstreamAt([], { configurationFile: "/etc/shoal/shoal.yaml" });
    await using _upstream = upstream;
    await expect(upstream.manifest(named("10.0.0.1:5000"), TAG)).rejects.toThrow(
      /plainHttp: true .* into \/etc\/shoal\/shoal\.yaml, and restart the daemon$/,
    );
    await expect(upstream.manifest(named("localhost:5000"), TAG)).rejects.not.toThrow(/plainHttp/);
  });

  test("is refused when a name leads there", async () => {
    const { upstream, looked } = upstreamAt(["192.168.0.1", "::1"]);
    await using _upstream = upstream;
    await expect(upstream.manifest(named("rebound.example"), TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
    });
    expect(looked).toEqual(["rebound.example"]);
  });

  test("is dialled for a configured registry, or where the site allows all", async () => {
    await using registry = await createScriptedRegistry();
    const image = registry.addImage("team/app", "v1", []);
    const port = registry.registry.split(":")[1]!;
    const host = `registry.example:${port}`;
    for (const init of [
      { registries: { [host]: { plainHttp: true } } },
      { registries: { [host]: { plainHttp: true } }, allowPrivate: true },
    ]) {
      const { upstream } = upstreamAt(["127.0.0.1"], init);
      await using _upstream = upstream;
      expect((await upstream.manifest(named(host), TAG)).digest).toBe(image.digest);
    }
    const { upstream } = upstreamAt([], { allowPrivate: true });
    await using _upstream = upstream;
    expect((await upstream.manifest(image.repository, TAG)).digest).toBe(image.digest);
  });

  test("is refused as the target of a redirect, unless that registry may", async () => {
    await using registry = await createScriptedRegistry();
    await using inside = await createScriptedRegistry({ host: "127.0.0.2" });
    const image = inside.addImage("team/app", "v1", []);
    registry.script(({ path }) => ({
      status: 307,
      headers: { location: `${inside.origin}${path}` },
    }));
    const repository = registry.repository("team/app");

    const { upstream } = upstreamAt([], { registries: { [registry.registry]: {} } });
    await using _upstream = upstream;
    await expect(upstream.manifest(repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
      message: expect.stringContaining("allowPrivate: true") as string,
    });
    expect(inside.requests).toEqual([]);

    // That another registry there is configured is no permission for this one.
    const { upstream: both } = upstreamAt([], {
      registries: { [registry.registry]: {}, [inside.registry]: {} },
    });
    await using _both = both;
    await both.manifest(inside.repository("team/app"), TAG);
    await expect(both.manifest(repository, TAG)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_FORBIDDEN_ADDRESS",
    });

    const { upstream: allowing } = upstreamAt([], {
      registries: { [registry.registry]: { allowPrivate: true } },
    });
    await using _allowing = allowing;
    expect((await allowing.manifest(repository, TAG)).digest).toBe(image.digest);
  });
});
