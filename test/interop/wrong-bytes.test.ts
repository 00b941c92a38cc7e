import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NODE } from "../lab/daemon.ts";
import { createImage } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { start, until } from "../lab/processes.ts";
import { createSite, MIB, type Site, wrongBlobs } from "./site.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);
const evil = new URL("../lab/evil-member.ts", import.meta.url).pathname;

describe.skipIf(skipped !== undefined)(
  "a machine whose only source is a member that sends wrong bytes",
  () => {
    let site: Site;
    const image = createImage([2048, 3 * MIB, 12 * MIB]);

    beforeAll(async () => {
      site = await createSite({ machines: 2, uplinkMbit: 200 });
      await site.push("app", "v1", image);
    }, 120_000);
    afterAll(async () => await site[Symbol.asyncDispose]());

    it("gives no engine a whole blob of them, ends right, and names the member", {
      timeout: 120_000,
    }, async () => {
      const [honest, other] = site.lan.machines;
      const daemon = await site.daemon(honest!);
      const blobs = image.blobs.map(({ descriptor }) => [descriptor.digest, descriptor.size]);
      await using liar = start(other!.within([NODE, evil, site.token, JSON.stringify(blobs)]), {
        outputFile: join(site.folder, "evil.log"),
      });
      await until("the liar has announced", async () => /^ready /m.test(await liar.output()));
      const id = /^ready (\S+)/m.exec(await liar.output())![1]!;
      const target = await site.copy(honest!, "app:v1", "mirror");
      for (const { descriptor } of image.blobs) {
        const bytes = await readFile(join(target, descriptor.digest.slice(7)));
        expect(digestOf(bytes)).toBe(descriptor.digest);
      }
      expect(await wrongBlobs(daemon)).toEqual([]);
      await liar[Symbol.asyncDispose]();
      const sent = Number(/^sent ([0-9]+)/m.exec(await liar.output())?.[1]);
      expect(sent).toBeGreaterThan(MIB);
      const warnings = (await daemon.logs()).filter(({ level }) => level === "warn");
      expect(warnings.some((line) => JSON.stringify(line).includes(id))).toBe(true);
      const { peers } = await daemon.api.peers();
      expect(peers.find((peer) => peer.id === id)?.strikes).toBeGreaterThan(0);
    });
  },
);
