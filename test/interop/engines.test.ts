import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabDaemon } from "../lab/daemon.ts";
import type { Engine } from "../lab/engine.ts";
import { ENGINES, startEngine } from "../lab/engines.ts";
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
const SMALL_BYTES = 64 * 1024;

describe.skipIf(skipped !== undefined)("container engines pull through the mirror", () => {
  let site: Site;
  let daemons: LabDaemon[];
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
    daemons = await Promise.all(site.lan.machines.map(async (place) => await site.daemon(place)));
    await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(1)));
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  /** What the engine says of the reference: its image, or that it refuses the layer of no bytes. */
  async function outcome(engine: Engine, tag: string, reference: string): Promise<string> {
    return await engine.pull(reference).catch((error: unknown) => {
      // containerd 1.6 refuses a layer of no bytes, from wherever it comes.
      const refuses = engine.name === "containerd" && tag === "empty";
      if (refuses && String(error).includes("fetch descriptor")) return "refused";
      throw error;
    });
  }

  describe.each(ENGINES)("%s", (name) => {
    it.each(Object.keys(images))(
      "gets the same of %s as from the registry, by tag and by digest",
      { timeout: 120_000 },
      async (tag) => {
        const byTag = `library/app:${tag}`;
        const byDigest = `library/app@${images[tag]!.manifest.descriptor.digest}`;
        const folder = (part: string): string => join(site.folder, `${name}-${tag}-${part}`);
        const start = async (machine: number, part: string, mirror?: string): Promise<Engine> =>
          await startEngine(name, {
            place: site.lan.machines[machine]!,
            folder: folder(part),
            registry: site.registry.host,
            ...(mirror === undefined ? {} : { mirror }),
          });
        await using direct = await start(1, "direct");
        const expected = await outcome(direct, tag, byTag);
        // By tag on the first machine, by digest on the second, which has what it can from the first.
        for (const [machine, reference] of [byTag, byDigest].entries()) {
          await using engine = await start(machine, `through${machine}`, MIRROR);
          const given = async (): Promise<number> =>
            (await daemons[machine]!.status()).traffic.toClientsBytes;
          const before = await given();
          expect(await outcome(engine, tag, reference)).toBe(expected);
          const needed = imageBytes(tag === "index" ? images["sizes"]! : images[tag]!);
          if (expected !== "refused")
            expect((await given()) - before).toBeGreaterThanOrEqual(needed);
        }
      },
    );
  });

  it("took each blob from the registry once, the second machine from the first", async () => {
    const [first, second] = await Promise.all(
      daemons.map(async (daemon) => (await daemon.status()).traffic),
    );
    const blobs = new Map(
      [images["sizes"]!, images["kib"]!, images["empty"]!, ...images["index"]!.children]
        .flatMap((image) => image.blobs)
        .map(({ descriptor }) => [descriptor.digest, descriptor.size]),
    );
    const all = [...blobs.values()].reduce((sum, size) => sum + size, 0);
    expect(first!.fromUpstreamBytes).toBe(all);
    // What the first has had for less than the time in which news is gathered may be fetched again.
    expect(second!.fromUpstreamBytes).toBeLessThanOrEqual(SMALL_BYTES);
    expect(second!.fromUpstreamBytes + second!.fromPeersBytes).toBe(all);
  });
});

describe.skipIf(skipped !== undefined)("four engines at the same moment", () => {
  it("pull one image that none of them has, as one copy", { timeout: 120_000 }, async () => {
    await using site = await createSite({ machines: 4, uplinkMbit: 100, lanMbit: 1000 });
    const image = createImage([1024, 5 * MIB, 40 * MIB]);
    await site.push("library/app", "v1", image);
    const { machines } = site.lan;
    const direct = await site.uplink(
      async () => await site.copy(machines[0]!, "library/app:v1", "registry"),
    );
    const daemons = await Promise.all(machines.map(async (place) => await site.daemon(place)));
    await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(3)));
    await using stack = new AsyncDisposableStack();
    const engines: Engine[] = [];
    for (const [machine, name] of ENGINES.entries()) {
      const init = { folder: join(site.folder, name), registry: site.registry.host };
      const place = machines[machine]!;
      engines.push(stack.use(await startEngine(name, { ...init, place, mirror: MIRROR })));
    }
    let told: string[] = [];
    const shared = await site.uplink(async () => {
      told = await Promise.all(engines.map(async (engine) => await engine.pull("library/app:v1")));
    });
    const { digest } = image.manifest.descriptor;
    const [configuration] = image.blobs;
    const id = configuration!.descriptor.digest;
    expect(told).toEqual([digest, id.slice("sha256:".length), digest, id]);
    console.log(
      `uplink: ${shared} bytes for four engines, ${direct} for a direct pull, ratio ${(shared / direct).toFixed(4)}`,
    );
    expect(shared / direct).toBeLessThanOrEqual(1.05);
  });
});
