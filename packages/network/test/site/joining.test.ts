import { describe, expect, it } from "vitest";
import { createEphemeralIdentity } from "../../src/index.ts";
import { createJoinToken, parseJoinToken } from "../../src/site/join-token.ts";
import { createMember, until } from "../support.ts";
import { createCertified, createIssuer, type KeyedSite } from "./certified.ts";
import { createKeyedSite } from "./support.ts";

const ISSUER = { roles: ["member", "issuer"] };

function createTokens(site: KeyedSite) {
  const token = parseJoinToken(createJoinToken(site.site, site.key.publicKey));
  const keys = new Map([[token.id, token.publicKey]]);
  return { token, keys, issuer: createIssuer(site, keys) };
}

describe("joining", () => {
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
