import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { until } from "../lab/processes.ts";
import { createLargeImage, createSite, type Site, wrongBlobs } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);

describe.skipIf(skipped !== undefined)("a daemon that is killed during a pull", () => {
  let site: Site;
  const image = createLargeImage();

  beforeAll(async () => {
    site = await createSite({ machines: 1, uplinkMbit: 200 });
    await site.push("app", "v1", image);
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  it("goes on where it was, and has nothing wrong in its store", { timeout: 120_000 }, async () => {
    const [place] = site.lan.machines;
    const direct = await site.uplink(async () => await site.copy(place!, "app:v1", "registry"));
    const daemon = await site.daemon(place!);
    const reference = `${site.registry.host}/app:v1`;
    const total = await site.uplink(async () => {
      const { id } = await daemon.api.startPull({ reference });
      await until("half of it is there", async () => {
        return (await daemon.status()).traffic.fromUpstreamBytes > imageBytes(image) / 2;
      });
      await daemon.kill9();
      await daemon.restart();
      expect(await wrongBlobs(daemon)).toEqual([]);
      // Nobody has asked again: the daemon goes on by itself.
      await until(
        "the pull is done",
        async () => {
          const pull = await daemon.api.pull(id);
          if (pull.state === "failed") throw new Error(JSON.stringify(pull.error));
          return pull.state === "done";
        },
        60_000,
      );
    });
    console.log(
      `uplink: ${total} bytes with a kill in between, ${direct} for a direct pull, ratio ${(total / direct).toFixed(4)}`,
    );
    // Lost are the pieces under way, and what the kernel had taken in for three connections and nobody read.
    expect(total / direct).toBeLessThanOrEqual(1.08);
    expect(await wrongBlobs(daemon)).toEqual([]);
  });
});
