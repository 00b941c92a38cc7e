import { digestOf, parseRegistryHost } from "@shoal/oci";
import { type AuditEvent, noMetrics, silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { createMemoryStore } from "@shoal/store";
import { expect, it } from "vitest";
import { loadConduct } from "../src/conduct.ts";
import { createSwarmMetrics } from "../src/metrics.ts";
import { testPeerId } from "../src/testing.ts";

it("records strikes, false words and bans", async () => {
  const recorded: AuditEvent[] = [];
  const conduct = await loadConduct({
    store: createMemoryStore(),
    clock: createManualClock(1_000_000_000_000),
    logger: silentLogger,
    metrics: createSwarmMetrics(noMetrics),
    auditLog: { record: (event) => recorded.push(event) },
  });
  const who = testPeerId("liar");
  conduct.strike(who);
  const claim = { registry: parseRegistryHost("ghcr.io"), withdrawn: false, certain: true };
  const digests = ["a", "b"].map((text) => digestOf(Buffer.from(text)));
  for (const digest of [...digests, digests[0]!])
    await conduct.convict(who, { ...claim, digest, proof: "" });
  const kind = "verification-failure";
  expect(recorded).toEqual([
    { kind, of: "piece", who, strikes: 1 },
    { kind, of: "attestation", who, digest: digests[0], strikes: 2 },
    { kind, of: "attestation", who, digest: digests[1], strikes: 3 },
    { kind: "ban", peer: who, until: "2001-09-09T02:46:40.000Z" },
  ]);
});
