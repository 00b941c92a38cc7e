import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabDaemon } from "../lab/daemon.ts";
import { imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { until } from "../lab/processes.ts";
import { createLargeImage, createSite, type Site, wrongBlobs } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);

describe.skipIf(skipped !== undefined)("a lessee that is killed at half time", () => {
  let site: Site;
  let daemons: LabDaemon[];
  const image = createLargeImage();

  beforeAll(async () => {
    site = await createSite({ machines: 5, uplinkMbit: 100, lanMbit: 1000 });
    await site.push("app", "v1", image);
    daemons = await Promise.all(site.lan.machines.map(async (place) => await site.daemon(place)));
    await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(4)));
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  it("costs the others next to nothing", { timeout: 180_000 }, async () => {
    const places = site.lan.machines;
    const direct = await site.uplink(async () => await site.copy(places[1]!, "app:v1", "registry"));
    const shared = await site.uplink(async () => {
      // The first is alone at first, and so the lessee of whole layers.
      const doomed = site.copy(places[0]!, "app:v1", "mirror").catch(() => "cut off");
      await until("the lessee has begun", async () => {
        return (await daemons[0]!.status()).traffic.fromUpstreamBytes > 4 * 1024 * 1024;
      });
      const others = places
        .slice(1)
        .map(async (place) => await site.copy(place, "app:v1", "mirror"));
      const fetched = async (): Promise<number> => {
        const all = await Promise.all(daemons.map(async (daemon) => await daemon.status()));
        return all.reduce((sum, { traffic }) => sum + traffic.fromUpstreamBytes, 0);
      };
      await until("half of it is there", async () => (await fetched()) > imageBytes(image) / 2);
      const { fromUpstreamBytes } = (await daemons[0]!.status()).traffic;
      expect(fromUpstreamBytes).toBeGreaterThan(0);
      await daemons[0]!.kill9();
      await Promise.all(others);
      expect(await doomed).toBe("cut off");
    });
    console.log(
      `uplink: ${shared} bytes, ${direct} for a direct pull, ratio ${(shared / direct).toFixed(4)}`,
    );
    expect(shared / direct).toBeLessThanOrEqual(1.15);
    for (const daemon of daemons.slice(1)) expect(await wrongBlobs(daemon)).toEqual([]);
  });
});
