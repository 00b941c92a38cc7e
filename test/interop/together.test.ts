import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon } from "../lab/daemon.ts";
import { imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { run } from "../lab/run.ts";
import { createLargeImage, createSite, type Site } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);

describe.skipIf(skipped !== undefined)(
  "six machines that pull one image at the same moment",
  () => {
    let site: Site;
    let daemons: LabDaemon[];
    const image = createLargeImage();
    // Soon old, so that what the last machine gets can be told to be stale.
    const extra = "resolve: { freshSeconds: 2 }";

    beforeAll(async () => {
      site = await createSite({ machines: 6, uplinkMbit: 200, lanMbit: 1000 });
      await site.push("app", "v1", image);
      daemons = await Promise.all(
        site.lan.machines.map(async (place) => await site.daemon(place, { extra })),
      );
      await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(5)));
    }, 120_000);
    afterAll(async () => await site[Symbol.asyncDispose]());

    it("take one copy and one manifest from the registry", { timeout: 180_000 }, async () => {
      const places = site.lan.machines;
      const direct = await site.uplink(
        async () => await site.copy(places[0]!, "app:v1", "registry"),
      );
      const askedBefore = (await site.registry.accesses()).length;
      const shared = await site.uplink(
        async () =>
          await Promise.all(
            places.map(async (place) => await site.copy(place, "app:v1", "mirror")),
          ),
      );
      const asked = (await site.registry.accesses()).slice(askedBefore);
      const manifestGets = asked.filter(
        ({ method, path }) => method === "GET" && path.endsWith("/app/manifests/v1"),
      );
      console.log(
        `uplink: ${shared} bytes for six pulls, ${direct} for a direct one, ratio ${(shared / direct).toFixed(4)}`,
      );
      expect(manifestGets).toHaveLength(1);
      expect(shared / direct).toBeLessThanOrEqual(1.05);
      for (const daemon of daemons) {
        const { fromUpstreamBytes, fromPeersBytes } = (await daemon.status()).traffic;
        expect(fromUpstreamBytes + fromPeersBytes).toBeGreaterThanOrEqual(imageBytes(image));
      }
    });

    it("give it to a seventh by tag when the registry is gone, marked stale", {
      timeout: 120_000,
    }, async () => {
      await site.registry.stop();
      const place = await site.lan.addMachine();
      const daemon = await site.daemon(place, { extra });
      await daemon.peersUp(6);
      const url = `http://127.0.0.1:5055/v2/app/manifests/v1?ns=${site.registry.host}`;
      const head = await run(place.within(["curl", "-fsSI", url]));
      expect(head.toLowerCase()).toContain("warning: 110");
      expect(head).toContain(image.manifest.descriptor.digest);
      await site.copy(place, "app:v1", "mirror");
      const { traffic } = await daemon.status();
      expect(traffic.fromUpstreamBytes).toBe(0);
      expect(traffic.fromPeersBytes).toBeGreaterThanOrEqual(imageBytes(image));
      const { id } = await daemon.api.startPull({ reference: `${site.registry.host}/app:v1` });
      for await (const event of daemon.api.events({ pull: id }))
        if (event.type === "pull" && event.pull.finishedAt !== undefined) {
          expect(event.pull).toMatchObject({ state: "done", stale: true });
          break;
        }
    });
  },
);
