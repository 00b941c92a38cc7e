import { setImmediate as turn } from "node:timers/promises";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import type { PeerIdString } from "@shoal/swarm";
import { describe, expect, it } from "vitest";
import type { Certificate } from "../../src/site/certificate.ts";
import { createCredentials, type Standing } from "../../src/site/credentials.ts";
import { signRevocation, signTokenEnd } from "../../src/site/notices.ts";
import { startUpkeep, type UpkeepInit } from "../../src/site/upkeep.ts";
import { createKeyedSite, createPeerId, NOW_MS } from "./support.ts";

/** Certificates of 90 minutes: the clock goes by seconds. */
const MINUTE_MS = 60_000;
const LIFETIME_MS = 90 * MINUTE_MS;

const self = await createPeerId();
const peer = await createPeerId();
const other = await createPeerId();

function createUpkeep(standings: readonly (readonly [PeerIdString, Standing])[] = []) {
  const site = createKeyedSite();
  const clock = createManualClock(NOW_MS);
  const own = site.certify(self, { notAfterMs: NOW_MS + LIFETIME_MS });
  const credentials = createCredentials({
    self,
    record: {
      site: site.site,
      publicKey: site.key.publicKey,
      certificate: own.document,
      notices: [],
    },
    tokenKey: site.site.admissionKey,
    now: () => clock.wallNow(),
  });
  const members = new Map(standings);
  const cuts: PeerIdString[] = [];
  const asked: PeerIdString[] = [];
  const told: PeerIdString[] = [];
  const renewed: Uint8Array[] = [];
  const renewals: { own: UpkeepInit["renewals"]["own"]; ask: UpkeepInit["renewals"]["ask"] } = {
    own: async () => undefined,
    async ask(issuer) {
      asked.push(issuer);
      return undefined;
    },
  };
  const upkeep = startUpkeep({
    credentials,
    members: {
      get peers() {
        return [...members.keys()];
      },
      standingOf: (each) => members.get(each),
      cut(each) {
        cuts.push(each);
        members.delete(each);
      },
    },
    renewals: {
      own: (certificate) => renewals.own(certificate),
      ask: (each) => renewals.ask(each),
    },
    tell: (each) => told.push(each),
    onRenewed(document) {
      renewed.push(document);
      credentials.install({ ...credentials.record(), certificate: document });
    },
    clock,
    random: () => 0,
    logger: silentLogger,
    signal: new AbortController().signal,
  });
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await turn();
  };
  return {
    site,
    clock,
    credentials,
    upkeep,
    own,
    cuts,
    asked,
    told,
    renewed,
    renewals,
    pass,
    members,
  };
}

const holding = (certificate: Certificate): Standing => ({ token: false, certificate });

describe("upkeep", () => {
  it("cuts who is revoked at once, and who has the token alone when it has been told of its end", async () => {
    const byToken = { token: true, certificate: undefined };
    const { site, credentials, upkeep, cuts, pass } = createUpkeep([
      [peer, byToken],
      [other, byToken],
    ]);
    credentials.learn([signRevocation(site.key, site.site.id, { peer, beforeMs: 1 })]);
    upkeep.review();
    expect(cuts).toEqual([peer]);
    credentials.learn([signTokenEnd(site.key, site.site.id, NOW_MS)]);
    upkeep.review();
    await pass(2000);
    expect(cuts).toEqual([peer]);
    await pass(2000);
    expect(cuts).toEqual([peer, other]);
  });

  it("asks issuers for a new certificate in the last third, and not more often than it helps", async () => {
    const { site, own, asked, renewed, renewals, members, pass } = createUpkeep();
    const lasting = { notAfterMs: NOW_MS + 300 * MINUTE_MS };
    members.set(peer, holding(site.certify(peer, { ...lasting, roles: ["member", "issuer"] })));
    members.set(other, holding(site.certify(other, lasting)));
    await pass(59 * MINUTE_MS);
    expect(asked).toEqual([]);
    await pass(MINUTE_MS + 1000);
    expect(asked).toEqual([peer]);
    // Each hundredth of its time, which is 54 s.
    for (let minute = 0; minute < 9; minute++) await pass(MINUTE_MS);
    expect(asked.length).toBeGreaterThan(5);
    expect(asked.length).toBeLessThanOrEqual(11);
    expect(new Set(asked)).toEqual(new Set([peer]));
    const newer = site.certify(self, {
      issuedAtMs: own.issuedAtMs + 61 * MINUTE_MS,
      notAfterMs: own.notAfterMs + 61 * MINUTE_MS,
    });
    renewals.ask = async () => newer.document;
    await pass(MINUTE_MS);
    await pass(10 * MINUTE_MS);
    expect(renewed).toEqual([newer.document]);
  });

  it("is not driven by a clock that is ahead of the issuer's", async () => {
    const { site, own, renewed, renewals, pass } = createUpkeep();
    let issuedAtMs = own.issuedAtMs;
    renewals.own = async () =>
      site.certify(self, { issuedAtMs: ++issuedAtMs, notAfterMs: issuedAtMs + LIFETIME_MS });
    await pass(70 * MINUTE_MS);
    for (let second = 0; second < 600; second++) await pass(1000);
    expect(renewed.length).toBeGreaterThan(0);
    expect(renewed.length).toBeLessThanOrEqual(13);
  });

  it("renews its own that has ended where the key is, but never one that was revoked", async () => {
    const { site, credentials, renewed, renewals, pass } = createUpkeep();
    const issue = (issuedAtMs: number): Certificate =>
      site.certify(self, { issuedAtMs, notAfterMs: issuedAtMs + LIFETIME_MS });
    await pass(91 * MINUTE_MS);
    renewals.own = async () => issue(NOW_MS + 91 * MINUTE_MS);
    await pass(2 * MINUTE_MS);
    expect(renewed).toHaveLength(1);
    const beforeMs = NOW_MS + 91 * MINUTE_MS;
    credentials.learn([signRevocation(site.key, site.site.id, { peer: self, beforeMs })]);
    await pass(80 * MINUTE_MS);
    await pass(2 * MINUTE_MS);
    expect(renewed).toHaveLength(1);
  });

  it("takes nothing but a newer certificate of its own, and asks the next issuer then", async () => {
    const { site, own, asked, renewed, renewals, members, pass } = createUpkeep();
    const roles = ["member", "issuer"];
    members.set(peer, holding(site.certify(peer, { roles })));
    members.set(other, holding(site.certify(other, { roles })));
    const lasting = { notAfterMs: NOW_MS + 300 * MINUTE_MS };
    const newer = site.certify(self, { issuedAtMs: own.issuedAtMs + 1, ...lasting });
    const answers = [
      own.document,
      site.certify(other, lasting).document,
      createKeyedSite().certify(self, lasting).document,
      new Uint8Array([1]),
    ];
    renewals.own = async () => await Promise.reject(new Error("the site key is damaged"));
    renewals.ask = async (issuer) => {
      asked.push(issuer);
      return issuer === peer ? answers.shift() : newer.document;
    };
    await pass(70 * MINUTE_MS);
    for (const _answer of [...answers, undefined]) await pass(2 * MINUTE_MS);
    expect(new Set(asked)).toEqual(new Set([peer, other]));
    expect(renewed.length).toBeGreaterThan(0);
    for (const document of renewed) expect(document).toEqual(newer.document);
  });

  it("tells a member by chance what it knows, each half minute", async () => {
    const { site, told, members, pass } = createUpkeep();
    members.set(peer, holding(site.certify(peer)));
    for (let second = 0; second < 120; second++) await pass(1000);
    expect(told.length).toBeGreaterThanOrEqual(3);
    expect(told.length).toBeLessThanOrEqual(4);
  });
});
