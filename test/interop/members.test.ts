import type { Member } from "@shoal/api";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabDaemon } from "../lab/daemon.ts";
import { createImage, imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { until } from "../lab/processes.ts";
import { createSite, MIB, type Site } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);
const NAMES = ["one", "two", "three", "four"] as const;
const IMAGES = 14;

describe.skipIf(skipped !== undefined)("a site that moves from its token to certificates", () => {
  let site: Site;
  let daemons: LabDaemon[];
  let fifth: LabDaemon;
  const images = Array.from({ length: IMAGES }, () => createImage([2048, MIB]));

  beforeAll(async () => {
    site = await createSite({ machines: 5 });
    for (const [i, image] of images.entries()) await site.push("app", `v${i}`, image);
    daemons = await Promise.all(
      site.lan.machines.slice(0, 4).map(async (place) => await site.daemon(place)),
    );
    await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(3)));
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  async function pull(daemon: LabDaemon, number: number): Promise<string> {
    const reference = `${site.registry.host}/app:v${number}`;
    const { id } = await daemon.api.startPull({ reference });
    for await (const { ...event } of daemon.api.events({ pull: id }))
      if (event.type === "pull" && event.pull.finishedAt !== undefined) return event.pull.state;
    return "lost";
  }

  async function member(daemon: LabDaemon, name: string): Promise<Member | undefined> {
    return (await daemon.api.site.members()).members.find((each) => each.name === name);
  }

  const fromPeers = async (daemon: LabDaemon): Promise<number> =>
    (await daemon.status()).traffic.fromPeersBytes;

  it("goes on pulling, and loses no connection, until only certificates admit", {
    timeout: 120_000,
  }, async () => {
    const [first, ...others] = daemons as [LabDaemon, ...LabDaemon[]];
    const before = await first.status();
    let moved = false;
    const states: string[] = [];
    const counts: number[] = [];
    const pulling = (async () => {
      for (let i = 0; i < IMAGES - 4 && !moved; i++) {
        states.push(...(await Promise.all(daemons.map(async (daemon) => await pull(daemon, i)))));
        counts.push(
          ...(await Promise.all(daemons.map(async (each) => (await each.status()).peersUp))),
        );
      }
    })();
    await first.api.site.init({ name: NAMES[0] });
    const { token } = await first.api.site.createToken({ uses: 3, ttlSeconds: 600 });
    for (const [i, daemon] of others.entries()) {
      const joined = await daemon.api.join({ token, name: NAMES[i + 1]! });
      expect(joined).toMatchObject({ outcome: "joined", site: before.site, name: NAMES[i + 1] });
    }
    await until("all know all by name", async () =>
      (
        await Promise.all(daemons.map(async (daemon) => (await daemon.api.site.members()).members))
      ).every((members) => members.length === 4 && members.every(({ name }) => name !== undefined)),
    );
    await first.api.site.endToken({});
    await until("all know that the token has ended", async () => {
      const lists = await Promise.all(
        daemons.map(async (daemon) => await daemon.api.site.members()),
      );
      return lists.every(({ tokenEndedAt }) => tokenEndedAt !== undefined);
    });
    moved = true;
    await pulling;
    const pulled = states.length / 4;
    console.log(`${pulled} images were pulled by four machines while the site moved`);
    expect(pulled).toBeGreaterThan(0);
    expect(new Set(states)).toEqual(new Set(["done"]));
    expect(new Set(counts)).toEqual(new Set([3]));
    for (const daemon of daemons) {
      const lines = await daemon.logs();
      expect(lines.filter(({ msg }) => msg === "a member is down")).toEqual([]);
    }
    const got = await Promise.all(daemons.map(fromPeers));
    const last = IMAGES - 4;
    await Promise.all(daemons.map(async (daemon) => await pull(daemon, last)));
    const more = await Promise.all(daemons.map(fromPeers));
    expect(
      more.reduce((sum, bytes) => sum + bytes) - got.reduce((sum, bytes) => sum + bytes),
    ).toBeGreaterThan(2 * imageBytes(images[last]!));
  });

  it("lets nobody in by the token any more, and a fifth by a join token", {
    timeout: 60_000,
  }, async () => {
    const place = site.lan.machines[4]!;
    fifth = await site.daemon(place, { token: site.token });
    const { token } = await daemons[0]!.api.site.createToken({});
    expect((await fifth.status()).peersUp).toBe(0);
    expect(await fifth.api.join({ token, name: "five" })).toMatchObject({ name: "five" });
    await fifth.peersUp(4);
    expect(await pull(fifth, IMAGES - 4)).toBe("done");
    expect(await fromPeers(fifth)).toBeGreaterThan(MIB);
  });

  it("cuts a revoked member off everywhere within 10 s, and after a restart of all", {
    timeout: 180_000,
  }, async () => {
    const [first, second] = daemons as [LabDaemon, LabDaemon];
    // One that is away when it happens.
    await second.kill9();
    await fifth.peersUp(3);
    const startMs = performance.now();
    await first.api.site.revoke({ member: "five" });
    await until("nobody has it", async () => (await fifth.status()).peersUp === 0, 10_000);
    const cutMs = performance.now() - startMs;
    console.log(`the revoked member was cut off by three members in ${Math.round(cutMs)} ms`);
    expect(cutMs).toBeLessThan(10_000);
    const backMs = performance.now();
    await second.restart();
    await second.peersUp(3);
    await until(
      "the one that was away knows",
      async () => (await member(second, "five"))?.revokedAt !== undefined,
      10_000,
    );
    await until("it has cut it off", async () => (await fifth.status()).peersUp === 0, 10_000);
    console.log(
      `one that was away knew ${Math.round(performance.now() - backMs)} ms after its start`,
    );

    // Whoever is first after a restart may be met by the revoked one alone.
    const all = [...daemons, fifth];
    await Promise.all(all.map(async (daemon) => await daemon.kill9()));
    await Promise.all(all.map(async (daemon) => await daemon.restart()));
    await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(3)));
    const secret = IMAGES - 3;
    await Promise.all(
      daemons.map(async (daemon) => expect(await pull(daemon, secret)).toBe("done")),
    );
    const before = await Promise.all(daemons.map(async (each) => (await each.status()).traffic));
    expect(await pull(fifth, secret)).toBe("done");
    const { traffic, peersUp } = await fifth.status();
    expect(peersUp).toBe(0);
    expect(traffic).toMatchObject({
      fromPeersBytes: 0,
      fromUpstreamBytes: imageBytes(images[secret]!),
    });
    const after = await Promise.all(daemons.map(async (each) => (await each.status()).traffic));
    expect(after.map(({ toPeersBytes }) => toPeersBytes)).toEqual(
      before.map(({ toPeersBytes }) => toPeersBytes),
    );
    for (const daemon of daemons) {
      expect((await daemon.status()).peersUp).toBe(3);
      expect(await member(daemon, "five")).toMatchObject({
        state: "down",
        revokedAt: expect.any(String),
      });
    }
  });
});
