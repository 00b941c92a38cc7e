import {
  type Certificate,
  createEphemeralIdentity,
  createSiteKeySeed,
  createSiteToken,
  LONGEST_CERTIFICATE_MS,
  siteKeyOf,
  siteOf,
} from "@shoal/network";
import { noAuditLog, silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { createMemoryStore } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createIssuing, type IssuingComponents } from "../../src/site/issuing.ts";
import { loadKnownMembers } from "../../src/site/known-members.ts";

const DAY_MS = 24 * 3600 * 1000;
const NOW_MS = Date.parse("2026-01-01T00:00:00Z");

/** An issuer that hears of no other's revocations. */
async function createIssuer(days = 90) {
  const site = siteOf(createSiteToken()).id;
  const key = siteKeyOf(createSiteKeySeed());
  const clock = createManualClock(NOW_MS);
  const parts: IssuingComponents = {
    keyFile: {
      need: async () => key,
      read: async () => key,
    } as unknown as IssuingComponents["keyFile"],
    tokens: { use: async () => undefined } as unknown as IssuingComponents["tokens"],
    known: await loadKnownMembers(
      createMemoryStore().table("certificates"),
      silentLogger,
      () => site,
    ),
    clock,
    logger: silentLogger,
    audit: noAuditLog,
  };
  const issuing = createIssuing(parts, { lifetimeMs: days * DAY_MS, site: () => site });
  const { peerId: peer } = await createEphemeralIdentity();
  return {
    clock,
    join: async (afterMs = 0): Promise<Certificate> =>
      await issuing.admit("token", peer, "machine", afterMs),
    renew: async (certificate: Certificate): Promise<Certificate> =>
      (await issuing.renew(certificate))!,
  };
}

describe("a revocation that the issuer has not heard of", () => {
  it("ends what a machine has renewed within a week of it", async () => {
    const { clock, join, renew } = await createIssuer();
    const first = await join();
    clock.advance(61 * DAY_MS);
    const revokedMs = clock.wallNow();
    for (let day = 0; day < 7; day++) {
      const renewed = await renew(first);
      expect(renewed.issuedAtMs).toBeLessThanOrEqual(revokedMs);
      expect(renewed.issuedAtMs).toBeGreaterThan(first.issuedAtMs);
      expect(renewed.notAfterMs).toBe(clock.wallNow() + 90 * DAY_MS);
      clock.advance(DAY_MS);
    }
  });

  it("ends what a machine has been given by a join token again", async () => {
    const { clock, join } = await createIssuer();
    const first = await join();
    clock.advance(DAY_MS);
    const revokedMs = clock.wallNow();
    clock.advance(60_000);
    const again = await join();
    expect(again.issuedAtMs).toBeLessThanOrEqual(revokedMs);
    expect(again.issuedAtMs).toBeGreaterThan(first.issuedAtMs);
    expect(again.notAfterMs).toBe(clock.wallNow() + 90 * DAY_MS);
  });
});

describe("a certificate", () => {
  it("of a machine that is let in again is newer than its revocation", async () => {
    const { clock, join } = await createIssuer();
    await join();
    clock.advance(DAY_MS);
    const beforeMs = clock.wallNow();
    expect((await join(beforeMs)).issuedAtMs).toBeGreaterThan(beforeMs);
  });

  it("stays within the longest time that one may hold, and each is newer than the last", async () => {
    const { clock, join, renew } = await createIssuer(1000);
    let certificate = await join();
    for (let times = 0; times < 5; times++) {
      clock.advance(times < 3 ? 1000 : 300 * DAY_MS);
      const { issuedAtMs } = certificate;
      certificate = await renew(certificate);
      expect(certificate.issuedAtMs).toBeGreaterThan(issuedAtMs);
      expect(certificate.notAfterMs - certificate.issuedAtMs).toBe(LONGEST_CERTIFICATE_MS);
    }
  });
});
