import { siteOf, createSiteToken } from "@shoal/network";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon, NODE } from "../lab/daemon.ts";
import { createImage, imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { run } from "../lab/run.ts";
import { createSite, MIB, type Site } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);
const stranger = new URL("../lab/stranger.ts", import.meta.url).pathname;

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

  async function intrude(
    prologue?: Uint8Array,
  ): Promise<{ connected: boolean; heard: Record<string, string> }> {
    const [, place] = site.lan.machines;
    const argv = [NODE, stranger, site.lan.machines[0]!.address, "5056"];
    if (prologue !== undefined) argv.push(Buffer.from(prologue).toString("hex"));
    return JSON.parse(await run(place!.within(argv), { timeoutMs: 60_000 })) as never;
  }

  it("learns nothing with a raw libp2p client, whose handshake fails", {
    timeout: 60_000,
  }, async () => {
    expect(await intrude()).toEqual({ connected: false, heard: {} });
    expect(await intrude(siteOf(createSiteToken()).prologue)).toEqual({
      connected: false,
      heard: {},
    });
  });

  it("learns nothing even with the handshake's secret, but not the token", {
    timeout: 60_000,
  }, async () => {
    const { connected, heard } = await intrude(siteOf(site.token).prologue);
    expect(connected).toBe(true);
    // The admission answers any client with a nonce and a proof; nothing in it is of the site's content.
    const { "/shoal/admit/1": admission = "", ...rest } = heard;
    expect(rest).toEqual({});
    for (const { descriptor } of [...image.blobs, image.manifest])
      expect(admission).not.toContain(descriptor.digest.slice(7));
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
      await site.copy(place, "app:v1", "mirror");
      const [mine, theirs] = await Promise.all([daemon.status(), other.status()]);
      expect(theirs).toMatchObject({ peersUp: 0, traffic: { fromPeersBytes: 0 } });
      expect(theirs.traffic.fromUpstreamBytes).toBe(imageBytes(image));
      expect(mine).toMatchObject({ peersUp: 0, traffic: { toPeersBytes: 0 } });
    },
  );
});
