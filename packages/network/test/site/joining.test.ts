import { systemClock } from "@shoal/runtime";
import { encode } from "cborg";
import { describe, expect, it } from "vitest";
import { createEphemeralIdentity } from "../../src/index.ts";
import { createJoinToken, parseJoinToken } from "../../src/site/join-token.ts";
import { createMember, createStranger, multiaddrOf, until } from "../support.ts";
import { createCertified, createIssuer, type KeyedSite } from "./certified.ts";
import { createKeyedSite } from "./support.ts";

const ISSUER = { roles: ["member", "issuer"] };

function createTokens(site: KeyedSite) {
  const token = parseJoinToken(createJoinToken(site.site, site.key.publicKey));
  const keys = new Map([[token.id, token.publicKey]]);
  return { token, keys, issuer: createIssuer(site, keys) };
}

// Most of the time is waiting for nobody.
describe.concurrent("joining", () => {
  it("gives a certificate to who has a join token, from among members that give none", async () => {
    const site = createKeyedSite();
    const { token, issuer } = createTokens(site);
    await using plain = await createCertified(site);
    await using holder = await createCertified(site, {
      issuer,
      token: site.token,
      change: ISSUER,
      peers: plain.network.listenAddresses(),
    });
    const identity = await createEphemeralIdentity();
    const peers = [plain, holder].flatMap(({ network }) => network.listenAddresses());
    await using joiner = await createMember({ peers }, { identity });
    expect(joiner.listenAddresses()).toEqual([]);
    const grant = await joiner.redeem(token, "joiner");
    expect(grant.certificate).toMatchObject({ name: "joiner", peer: identity.peerId });
    expect(grant.token).toBe(site.token);
    expect(grant.record.site).toEqual({
      id: site.site.id,
      serviceTag: site.site.serviceTag,
      prologue: site.site.prologue,
    });
    await joiner.enter(grant.record);
    await until(() => joiner.members().length === 2);
  });

  it("signs nothing for who has no certificate of an issuer, not even a member", {
    timeout: 20_000,
  }, async () => {
    const site = createKeyedSite();
    const { token, issuer } = createTokens(site);
    await using member = await createCertified(site, { issuer });
    const forger = { key: createKeyedSite().key, site: site.site };
    await using forged = await createCertified(forger, { issuer, change: ISSUER });
    const peers = [member, forged].flatMap(({ network }) => network.listenAddresses());
    await using joiner = await createMember({ peers });
    await expect(joiner.redeem(token, "joiner")).rejects.toMatchObject({
      code: "ERR_JOIN",
      message: expect.stringContaining("none of the 2 machines"),
    });
    expect(issuer.given).toEqual([]);
  });

  it("is tried so often and no more by one address, with a good token too", {
    timeout: 20_000,
  }, async () => {
    const site = createKeyedSite();
    const { token, issuer } = createTokens(site);
    await using holder = await createCertified(site, { issuer, change: ISSUER });
    const stranger = await createStranger(site.site.prologue);
    const answered = [];
    for (let i = 0; i < 12; i++) {
      const connection = await stranger.dial(multiaddrOf(holder.network));
      let heardBytes = 0;
      try {
        const stream = await connection.newStream("/shoal/join/1");
        stream.addEventListener("message", ({ data }) => (heardBytes += data.byteLength));
        const ask = encode({ token: token.id, nonce: new Uint8Array(32) });
        stream.send(Buffer.concat([Buffer.from([0, 0, 0, ask.length]), ask]));
        await until(() => heardBytes > 0 || stream.status !== "open");
      } catch {
        // Refused before it was asked.
      }
      answered.push(heardBytes > 0);
    }
    await stranger.stop();
    expect(answered).toEqual([...Array<boolean>(10).fill(true), false, false]);
    await using joiner = await createMember({ peers: holder.network.listenAddresses() });
    await expect(joiner.redeem(token, "joiner")).rejects.toMatchObject({ code: "ERR_JOIN" });
    expect(issuer.given).toEqual([]);
  });

  it("takes no large frame of who may be a stranger", async () => {
    const site = createKeyedSite();
    await using holder = await createCertified(site, {
      issuer: createTokens(site).issuer,
      change: ISSUER,
    });
    const stranger = await createStranger(site.site.prologue);
    const connection = await stranger.dial(multiaddrOf(holder.network));
    const stream = await connection.newStream("/shoal/join/1");
    stream.send(Buffer.from([0, 0, 0x10, 1]));
    await until(() => stream.status !== "open");
    await stranger.stop();
  });

  it("says so where this machine's clock is the fault", async () => {
    const site = createKeyedSite();
    const { token, issuer } = createTokens(site);
    await using holder = await createCertified(site, { issuer, change: ISSUER });
    const peers = holder.network.listenAddresses();
    const clock = { ...systemClock, wallNow: () => Date.now() + 400 * 24 * 3600 * 1000 };
    await using joiner = await createMember({ peers }, { clock });
    await expect(joiner.redeem(token, "joiner")).rejects.toMatchObject({
      code: "ERR_JOIN",
      message: expect.stringContaining("set the clock"),
    });
    expect(issuer.given).toEqual([]);
  });

  it("ends with what to do when the token is not good, or nobody is there", {
    timeout: 60_000,
  }, async () => {
    const site = createKeyedSite();
    const { token, keys, issuer } = createTokens(site);
    await using holder = await createCertified(site, { issuer, change: ISSUER });
    await using joiner = await createMember({ peers: holder.network.listenAddresses() });
    keys.clear();
    await expect(joiner.redeem(token, "joiner")).rejects.toThrow(
      "the one machine of the site that was found takes the token",
    );
    const signal = AbortSignal.timeout(200);
    await using alone = await createMember({});
    await expect(alone.redeem(token, "joiner", { signal })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    expect(issuer.given).toEqual([]);
  });
});
