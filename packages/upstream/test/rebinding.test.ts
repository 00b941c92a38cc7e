import type { LookupAddress } from "node:dns";
import { parseRegistryHost, parseRepositoryName, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { describe, expect, test } from "vitest";
import { createUpstream } from "../src/index.ts";

/** Of the 6bone, which was given back (RFC 3701): public as far as anybody can tell, and nowhere. */
const NOWHERE = "3ffe::1";

/** A DNS that answers each question with the next of these, and with the last one from then on. */
function upstreamBehind(answers: readonly (readonly string[])[]) {
  let asked = 0;
  const upstream = createUpstream(
    {
      clock: systemClock,
      logger: silentLogger,
      metrics: noMetrics,
      lookup: (_host, options, callback) => {
        const answer = answers[Math.min(asked, answers.length - 1)]!;
        asked += 1;
        const found: LookupAddress[] = answer.map((address) => ({
          address,
          family: address.includes(":") ? 6 : 4,
        }));
        if (options.all === true) callback(null, found);
        else callback(null, found[0]!.address, found[0]!.family);
      },
    },
    { userAgent: "shoal/test", retry: { tries: 1, baseMs: 1 }, timeouts: { connectMs: 300 } },
  );
  const repository = {
    registry: parseRegistryHost("rebound.example"),
    name: parseRepositoryName("team/app"),
  };
  return {
    ask: async () =>
      await upstream.manifest(repository, parseTag("v1")).then(
        () => "answered",
        (error: { code?: string }) => error.code,
      ),
    asked: () => asked,
    [Symbol.asyncDispose]: async () => await upstream[Symbol.asyncDispose](),
  };
}

describe("a name whose address changes", () => {
  test("is looked up once for a connection: what was checked is what is dialled", async () => {
    await using dns = upstreamBehind([[NOWHERE], ["169.254.169.254"]]);
    expect(await dns.ask()).toMatch(/^ERR_UPSTREAM_(UNREACHABLE|TIMEOUT)$/);
    expect(dns.asked()).toBe(1);
    expect(await dns.ask()).toBe("ERR_UPSTREAM_FORBIDDEN_ADDRESS");
  });

  test.each([
    ["169.254.169.254"],
    ["fd00:ec2::254"],
    ["::ffff:169.254.169.254"],
    ["::a9fe:a9fe"],
    ["64:ff9b::a9fe:a9fe"],
    ["0.0.0.0"],
    ["::"],
    ["100.100.100.200"],
  ])("is refused when it is %s", async (address) => {
    await using dns = upstreamBehind([[address]]);
    expect(await dns.ask()).toBe("ERR_UPSTREAM_FORBIDDEN_ADDRESS");
  });

  test("is dialled at its public addresses alone, where it has others beside them", async () => {
    await using dns = upstreamBehind([["127.0.0.1", NOWHERE, "::1"]]);
    expect(await dns.ask()).toMatch(/^ERR_UPSTREAM_(UNREACHABLE|TIMEOUT)$/);
  });
});
