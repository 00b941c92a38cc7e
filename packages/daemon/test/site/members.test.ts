import { copyFile, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ApiClient, createApiClient } from "@shoal/api";
import { describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "../support.ts";

interface Machine extends AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly api: ApiClient;
  address(): Promise<string>;
}

async function createMachine(
  peers: readonly string[] = [],
  change: Parameters<typeof createTestDaemon>[0] = {},
): Promise<Machine> {
  const swarm = { listen: ["127.0.0.1"], port: 0, bulkPort: 0, mdns: false, peers: [...peers] };
  const daemon = await createTestDaemon({ swarm, ...change });
  const api = createApiClient({ socketPath: daemon.socket });
  return {
    daemon,
    api,
    address: async () => (await api.status()).swarm[0]!,
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

async function until(what: () => Promise<boolean>, limitMs = 5000): Promise<void> {
  const startMs = performance.now();
  while (!(await what())) {
    if (performance.now() - startMs > limitMs) throw new Error(`not within ${limitMs} ms`);
    await delay(20);
  }
}

const isUp = (machine: Machine, count: number) => async (): Promise<boolean> =>
  (await machine.api.status()).peersUp === count;

describe("a site with certificates", () => {
  it("is made by one machine, joined by others, and left by who is revoked", {
    timeout: 30_000,
  }, async () => {
    await using first = await createMachine();
    await expect(first.api.site.createToken({})).rejects.toMatchObject({ code: "ERR_SITE_KEY" });
    const made = await first.api.site.init({ name: "first" });
    expect(made).toMatchObject({ name: "first", site: (await first.api.status()).site });
    await expect(first.api.token()).rejects.toMatchObject({ code: "ERR_SITE_NO_TOKEN" });

    await using second = await createMachine([await first.address()]);
    const { token } = await first.api.site.createToken({ uses: 2, ttlSeconds: 60 });
    const joined = await second.api.join({ token, name: "second" });
    expect(joined).toMatchObject({ outcome: "joined", site: made.site, name: "second" });
    expect(await second.api.join({ token })).toMatchObject({ outcome: "already-member" });
    await until(isUp(first, 1));
    expect((await second.api.status()).certificate).toMatchObject({ name: "second" });
    const { members, tokenEndedAt } = await first.api.site.members();
    expect(tokenEndedAt).toBeDefined();
    expect(members).toMatchObject([
      { name: "first", roles: ["member", "issuer"], state: "up" },
      { name: "second", roles: ["member"], state: "up" },
    ]);

    await using third = await createMachine([await first.address(), await second.address()]);
    expect(await third.api.join({ token, name: "second" })).toMatchObject({
      name: expect.stringMatching(/^second-.{6}$/),
    });
    await until(isUp(third, 2));
    await expect(third.api.site.init({})).rejects.toMatchObject({ code: "ERR_SITE_KEY" });
    await expect(second.api.site.revoke({ member: "first" })).rejects.toMatchObject({
      code: "ERR_SITE_KEY",
    });
    await expect(first.api.site.revoke({ member: "nobody" })).rejects.toMatchObject({
      code: "ERR_MEMBER_NOT_FOUND",
    });
    await expect(first.api.site.revoke({ member: "first" })).rejects.toMatchObject({
      code: "ERR_REVOKE",
    });
    await first.api.site.revoke({ member: "second" });
    await until(isUp(second, 0));
    await until(isUp(third, 1));
    const list = await third.api.site.members();
    expect(list.members.find(({ name }) => name === "second")).toMatchObject({
      state: "down",
      revokedAt: expect.any(String),
    });
    // It knows the join token still, with which it was admitted.
    await expect(second.api.join({ token })).rejects.toMatchObject({ code: "ERR_JOIN" });
    const other = await first.api.site.createToken({});
    expect(await second.api.join({ token: other.token, name: "second" })).toMatchObject({
      outcome: "joined",
      name: "second",
    });
    await until(isUp(second, 2));
    expect((await third.api.site.members()).members).toContainEqual(
      expect.objectContaining({ name: "second", state: "up" }),
    );
    const kept = await readFile(join(third.daemon.configuration.state, "membership.json"), "utf8");
    expect(JSON.parse(kept)).toMatchObject({ notices: [expect.any(String), expect.any(String)] });
  });

  it("is made once by two who ask at once", async () => {
    await using first = await createMachine();
    const made = await Promise.all([first.api.site.init({}), first.api.site.init({})]);
    const { site } = await first.api.status();
    expect(made.map((each) => each.site)).toEqual([site, site]);
    expect(await first.api.site.createToken({})).toMatchObject({ uses: 1 });
  });

  it("gives nothing while its key is away, and goes on when it is back", async () => {
    await using first = await createMachine();
    const { keyFile } = await first.api.site.init({});
    await rename(keyFile, `${keyFile}.away`);
    await expect(first.api.site.createToken({})).rejects.toMatchObject({
      code: "ERR_SITE_KEY",
      message: expect.stringContaining(`bring the key back to ${keyFile}`),
    });
    await rename(`${keyFile}.away`, keyFile);
    const { token } = await first.api.site.createToken({});
    await using second = await createMachine([await first.address()]);
    await second.api.join({ token, name: "second" });
    // A copy of the key makes another issuer.
    await copyFile(keyFile, join(second.daemon.configuration.state, "site-key.json"));
    expect(await second.api.site.init({})).toMatchObject({ name: "second" });
    await until(async () =>
      (await first.api.site.members()).members.every(({ roles }) => roles.includes("issuer")),
    );
    const other = await second.api.site.createToken({});
    await using third = await createMachine([await second.address()]);
    expect(await third.api.join({ token: other.token })).toMatchObject({ outcome: "joined" });
    await until(isUp(third, 2));
  });

  it("renews certificates in time, without a connection lost", { timeout: 40_000 }, async () => {
    const site = { certificateDays: 9 / (24 * 3600) };
    await using first = await createMachine([], { site });
    await first.api.site.init({ name: "first" });
    const { token } = await first.api.site.createToken({});
    await using second = await createMachine([await first.address()]);
    const { notAfter } = await second.api.join({ token, name: "second" });
    await until(isUp(second, 1));
    const counts = new Set<number>();
    await until(async () => {
      const { peersUp, certificate } = await second.api.status();
      counts.add(peersUp);
      return certificate!.notAfter > notAfter! && Date.now() > Date.parse(notAfter!);
    }, 20_000);
    expect([...counts]).toEqual([1]);
    const { members } = await first.api.site.members();
    expect(members.map(({ state }) => state)).toEqual(["up", "up"]);
    for (const member of members)
      expect(Date.parse(member.notAfter!)).toBeGreaterThan(Date.parse(notAfter!));
  });

  it("grows out of a site with a token, whose end waits for who has nothing else", {
    timeout: 30_000,
  }, async () => {
    await using first = await createMachine();
    const siteToken = await first.api.token();
    await using second = await createMachine([await first.address()]);
    await using third = await createMachine([await first.address()]);
    for (const machine of [second, third]) await machine.api.join({ token: siteToken });
    await until(isUp(first, 2));
    const { site } = await first.api.site.init({ name: "first" });
    const { token } = await first.api.site.createToken({});
    expect(await second.api.join({ token, name: "second" })).toMatchObject({
      outcome: "joined",
      site,
    });
    await until(isUp(second, 2));
    await until(async () => (await third.api.site.members()).keyed);
    const { members } = await third.api.site.members();
    expect(members.filter(({ name }) => name !== undefined)).toHaveLength(2);
    await expect(first.api.site.endToken({})).rejects.toMatchObject({
      code: "ERR_TOKEN_IN_USE",
      message: expect.stringContaining("a member that is up has nothing but the token"),
    });
    await first.api.site.endToken({ force: true });
    await until(isUp(third, 0), 8000);
    await until(isUp(first, 1));
    expect((await second.api.site.members()).tokenEndedAt).toBeDefined();
    await expect(second.api.token()).rejects.toMatchObject({ code: "ERR_SITE_NO_TOKEN" });
    await using late = await createMachine([await first.address()]);
    await late.api.join({ token: siteToken });
    await delay(500);
    expect((await late.api.status()).peersUp).toBe(0);
  });
});
