import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabDaemon } from "../lab/daemon.ts";
import { type EngineName, startEngine } from "../lab/engines.ts";
import {
  createImage,
  createIndex,
  createLayer,
  imageBytes,
  type TestImage,
} from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { createSite, MIB, MIRROR, type Site } from "./site.ts";

const skipped = await prepareLab();

describe.skipIf(skipped !== undefined)("container engines pull through the mirror", () => {
  let site: Site;
  let daemon: LabDaemon;
  const shared = createLayer(5 * MIB);
  const images: Record<string, TestImage> = {
    sizes: createImage([1536, shared, 64 * MIB]),
    kib: createImage([1024, shared], { docker: true }),
    empty: createImage([0, 2048]),
  };
  images["index"] = createIndex({
    amd64: images["sizes"]!,
    arm64: createImage([shared, 4096], { architecture: "arm64" }),
  });

  beforeAll(async () => {
    site = await createSite({ machines: 2 });
    for (const [tag, image] of Object.entries(images)) await site.push("library/app", tag, image);
    daemon = await site.daemon(site.lan.machines[0]!);
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  /** What the engine says of the reference: its image, or that it refuses. */
  async function outcome(pull: Promise<string>): Promise<string> {
    return await pull.catch((error: unknown) => {
      // containerd 1.6 refuses a layer of no bytes, from wherever it comes.
      if (String(error).includes("fetch descriptor")) return "refused";
      throw error;
    });
  }

  describe.each<EngineName>(["skopeo", "podman", "containerd", "dockerd"])("%s", (name) => {
    it.each(Object.keys(images))(
      "gets the same of %s as from the registry, by tag and by digest",
      { timeout: 120_000 },
      async (tag) => {
        const byTag = `library/app:${tag}`;
        const byDigest = `library/app@${images[tag]!.manifest.descriptor.digest}`;
        const common = { registry: site.registry.host };
        const [here, there] = site.lan.machines as [never, never];
        const folder = (part: string): string => join(site.folder, `${name}-${tag}-${part}`);
        await using direct = await startEngine(name, {
          ...common,
          place: there,
          folder: folder("direct"),
        });
        const expected = await outcome(direct.pull(byTag));
        for (const reference of [byTag, byDigest]) {
          const part = reference === byTag ? "tag" : "digest";
          await using engine = await startEngine(name, {
            ...common,
            place: here,
            folder: folder(part),
            mirror: MIRROR,
          });
          const before = (await daemon.status()).traffic.toClientsBytes;
          expect(await outcome(engine.pull(reference))).toBe(expected);
          const given = (await daemon.status()).traffic.toClientsBytes - before;
          const needed = imageBytes(tag === "index" ? images["sizes"]! : images[tag]!);
          if (expected !== "refused") expect(given).toBeGreaterThanOrEqual(needed);
        }
      },
    );
  });

  it("asked the registry for each blob once", async () => {
    const gets = (await site.registry.accesses()).filter(
      ({ method, path, status }) => method === "GET" && path.includes("/blobs/") && status === 200,
    );
    const { traffic } = await daemon.status();
    const blobs = new Map(
      [images["sizes"]!, images["kib"]!, images["empty"]!, ...images["index"]!.children]
        .flatMap((image) => image.blobs)
        .map(({ descriptor }) => [descriptor.digest, descriptor.size]),
    );
    const all = [...blobs.values()].reduce((sum, size) => sum + size, 0);
    expect(gets.length).toBeGreaterThan(0);
    expect(traffic.fromUpstreamBytes).toBe(all);
  });
});
