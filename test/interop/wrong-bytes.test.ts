import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NODE } from "../lab/daemon.ts";
import { ENGINES, startEngine } from "../lab/engines.ts";
import { createImage } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import type { Place } from "../lab/lan.ts";
import { start, until } from "../lab/processes.ts";
import { run } from "../lab/run.ts";
import { createSite, MIB, MIRROR, type Site, wrongBlobs } from "./site.ts";

const skipped = await prepareLab();
const evil = new URL("../lab/evil-member.ts", import.meta.url).pathname;

describe.skipIf(skipped !== undefined)(
  "a machine whose only source is a member that sends wrong bytes",
  () => {
    let site: Site;

    beforeAll(async () => {
      site = await createSite({ machines: 2, uplinkMbit: 200 });
    }, 120_000);
    afterAll(async () => await site[Symbol.asyncDispose]());

    it.each(ENGINES)(
      "gives %s no whole blob of them, ends right, and names the member",
      {
        timeout: 120_000,
      },
      async (name) => {
        const [honest, other] = site.lan.machines as [Place, Place];
        const image = createImage([2048, 3 * MIB, 12 * MIB]);
        const folder = (part: string): string => join(site.folder, `${name}-${part}`);
        await site.push("library/app", name, image);
        await using daemon = await site.daemon(honest);
        const blobs = image.blobs.map(({ descriptor }) => [descriptor.digest, descriptor.size]);
        await using liar = start(other.within([NODE, evil, site.token, JSON.stringify(blobs)]), {
          outputFile: folder("evil.log"),
        });
        await until("the liar has announced", async () => /^ready /m.test(await liar.output()));
        const id = /^ready (\S+)/m.exec(await liar.output())![1]!;

        const init = { place: honest, registry: site.registry.host };
        await using engine = await startEngine(name, {
          ...init,
          folder: folder("engine"),
          mirror: MIRROR,
        });
        const reference = `library/app:${name}`;
        // Engines check what they store: a pull that ends has the right bytes, and its image is the registry's.
        const told = await engine.pull(reference);
        const { digest } = image.manifest.descriptor;
        const configuration = image.blobs[0]!.descriptor.digest;
        const right = { skopeo: digest, containerd: digest, podman: configuration.slice(7) };
        expect(told).toBe(name === "dockerd" ? configuration : right[name]);
        expect(await wrongBlobs(daemon)).toEqual([]);

        await liar[Symbol.asyncDispose]();
        const sent = Number(/^sent ([0-9]+)/m.exec(await liar.output())?.[1]);
        // Little: it is struck out after three wrong pieces, of whichever blobs were asked for first.
        expect(sent).toBeGreaterThan(0);
        const warnings = (await daemon.logs()).filter(({ level }) => level === "warn");
        expect(warnings.some((line) => JSON.stringify(line).includes(id))).toBe(true);
        const { peers } = await daemon.api.peers();
        expect(peers.find((peer) => peer.id === id)?.strikes).toBeGreaterThan(0);
      },
    );

    it("gives a client that checks nothing the right bytes or a body cut short", {
      timeout: 120_000,
    }, async () => {
      const [honest, other] = site.lan.machines as [Place, Place];
      const image = createImage([2048, 3 * MIB, 12 * MIB]);
      await site.push("library/app", "raw", image);
      await using _daemon = await site.daemon(honest);
      const blobs = image.blobs.map(({ descriptor }) => [descriptor.digest, descriptor.size]);
      await using liar = start(other.within([NODE, evil, site.token, JSON.stringify(blobs)]), {
        outputFile: join(site.folder, "raw-evil.log"),
      });
      await until("the liar has announced", async () => /^ready /m.test(await liar.output()));
      const url = `http://${MIRROR}/v2/library/app`;
      await run(
        honest.within([
          "curl",
          "-fsS",
          "-o",
          "/dev/null",
          `${url}/manifests/raw?ns=${site.registry.host}`,
        ]),
      );
      for (const { bytes, descriptor } of image.blobs) {
        const file = join(site.folder, "raw-blob");
        const ended = await run(
          honest.within([
            "curl",
            "-fsS",
            "-o",
            file,
            `${url}/blobs/${descriptor.digest}?ns=${site.registry.host}`,
          ]),
        ).then(
          () => "whole",
          () => "short",
        );
        const got = await readFile(file);
        if (ended === "whole") expect(digestOf(got)).toBe(descriptor.digest);
        else expect(got.length).toBeLessThan(bytes.length);
      }
    });
  },
);
