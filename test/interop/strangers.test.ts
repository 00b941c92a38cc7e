import { siteOf, createSiteToken } from "@shoal/network";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon, NODE } from "../lab/daemon.ts";
import { createImage, imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import type { Place } from "../lab/lan.ts";
import { until } from "../lab/processes.ts";
import type { Secret } from "../lab/questions.ts";
import { run } from "../lab/run.ts";
import type { Intrusion } from "../lab/stranger.ts";
import { createSite, MIB, type Site } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);
const stranger = new URL("../lab/stranger.ts", import.meta.url).pathname;
const member = new URL("../lab/member.ts", import.meta.url).pathname;

describe.skipIf(skipped !== undefined)("who has not this site's token", () => {
  let site: Site;
  let daemon: LabDaemon;
  const image = createImage([2048, 4 * MIB]);

  beforeAll(async () => {
    site = await createSite({ machines: 3 });
    await site.push("app", "v1", image);
    daemon = await site.daemon(site.lan.machines[0]!);
    await site.copy(site.lan.machines[0]!, "app:v1", "mirror");
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  const secret = (): Secret => {
    const { digest, size } = image.blobs.at(-1)!.descriptor;
    const repository = `${site.registry.host}/app`;
    return { repository, tag: "v1", digest, sizeBytes: size };
  };

  async function intrude(prologue?: Uint8Array): Promise<Intrusion> {
    const [{ address }, place] = site.lan.machines as [Place, Place];
    const argv = [NODE, stranger, address, "5056", JSON.stringify(secret())];
    if (prologue !== undefined) argv.push(Buffer.from(prologue).toString("hex"));
    return JSON.parse(await run(place.within(argv), { timeoutMs: 60_000 })) as Intrusion;
  }

  it("would learn all of it as a member", { timeout: 60_000 }, async () => {
    const [{ address }, place] = site.lan.machines as [Place, Place];
    const argv = [NODE, member, `${address}:5056`, JSON.stringify(secret()), site.token];
    const heard = JSON.parse(await run(place.within(argv), { timeoutMs: 60_000 })) as Record<
      string,
      string
    >;
    const layer = Buffer.from(image.blobs.at(-1)!.bytes);
    expect(heard["tag"]).toContain(Buffer.from(image.manifest.descriptor.digest).toString("hex"));
    expect(heard["size"]).toContain(layer.length.toString(16));
    expect(heard["bytes"]).toContain(layer.subarray(0, 64 * 1024).toString("hex"));
    await until("the member has gone", async () => (await daemon.status()).peersUp === 0, 30_000);
  });

  it("learns nothing with a raw libp2p client, whose handshake fails", {
    timeout: 60_000,
  }, async () => {
    const nothing = { connected: false, heard: {} };
    expect(await intrude()).toEqual(nothing);
    expect(await intrude(siteOf(createSiteToken()).prologue)).toEqual(nothing);
  });

  it("learns nothing even with the handshake's secret, but not the token", {
    timeout: 60_000,
  }, async () => {
    const { connected, heard } = await intrude(siteOf(site.token).prologue);
    expect(connected).toBe(true);
    const { challenge = "", guess = "", mutual = "", ...rest } = heard;
    expect(rest).toEqual({});
    expect(mutual.length / 2).toBeLessThanOrEqual(4 + "{nonce}".length + 32 + 2);
    // The admission answers anybody with one frame of a nonce and a proof, which are random to who lacks the
    // token, and says no more to a proof that does not match.
    const answerBytes = 4 + "{nonce,proof}".length + 2 * (32 + 2);
    expect(challenge).not.toBe("");
    for (const answer of [challenge, guess])
      expect(answer.length / 2).toBeLessThanOrEqual(answerBytes);
  });

  it("learns still less of a daemon that admits by certificates", { timeout: 60_000 }, async () => {
    await daemon.api.site.init({ name: "secret-name" });
    await daemon.api.site.createToken({});
    await daemon.api.site.endToken({});
    const { connected, heard } = await intrude(siteOf(site.token).prologue);
    expect(connected).toBe(true);
    const { mutual = "", ...rest } = heard;
    expect(rest).toEqual({});
    expect(mutual.length / 2).toBeLessThanOrEqual(4 + "{nonce}".length + 32 + 2);
  });

  it("reaches none of the other ports", { timeout: 60_000 }, async () => {
    const [{ address }, place] = site.lan.machines as [Place, Place];
    for (const port of [5055, 5057]) {
      const url = `http://${address}:${port}/v2/`;
      // 7: the connection was refused.
      await expect(run(place.within(["curl", "-sS", "-m", "5", url]))).rejects.toThrow("(7)");
    }
  });

  it.each(["another token", "no token"])(
    "shares nothing as a daemon with %s",
    { timeout: 60_000 },
    async (which) => {
      const [, second, third] = site.lan.machines;
      const place = which === "no token" ? third! : second!;
      const other = await site.daemon(place, {
        token: which === "no token" ? undefined : createSiteToken(),
        extra: "swarm: { peers: [10.77.0.11] }",
      });
      const { toPeersBytes } = (await daemon.status()).traffic;
      await site.copy(place, "app:v1", "mirror");
      const [mine, theirs] = await Promise.all([daemon.status(), other.status()]);
      expect(theirs).toMatchObject({ peersUp: 0, traffic: { fromPeersBytes: 0 } });
      expect(theirs.traffic.fromUpstreamBytes).toBe(imageBytes(image));
      expect(mine).toMatchObject({ peersUp: 0, traffic: { toPeersBytes } });
    },
  );
});
