import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon, NODE } from "../lab/daemon.ts";
import { type EngineName, startEngine } from "../lab/engines.ts";
import { createImage, imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { run } from "../lab/run.ts";
import { createSite, MIB, MIRROR, type Site } from "./site.ts";

const skipped = await prepareLab();
const SHOAL = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;

/**
 * `shoal setup NAME`, the engines that go by the files which it writes, and what `shoal status` calls them. The
 * files are what these engines see below /etc.
 */
const CASES: readonly (readonly [setup: string, engine: EngineName, etc: string, name: string])[] =
  [
    ["podman", "podman", "containers", "podman"],
    ["podman", "buildah", "containers", "podman"],
    ["podman", "skopeo", "containers", "podman"],
    // CRI-O reads its registries by the same library from the same folder.
    ["crio", "podman", "containers", "podman"],
    ["containerd", "containerd", "containerd", "containerd"],
    ["containerd", "cri", "containerd", "containerd"],
    ["docker", "dockerd", "docker", "docker"],
    ["docker", "buildkit", "docker", "containerd-library"],
  ];

describe.skipIf(skipped !== undefined)("after `shoal setup`, a plain pull", () => {
  let site: Site;
  let daemon: LabDaemon;
  const image = createImage([1024, MIB]);

  beforeAll(async () => {
    site = await createSite({ machines: 1 });
    await site.push("library/app", "v1", image);
    daemon = await site.daemon(site.lan.machines[0]!);
  }, 120_000);
  afterAll(async () => await site[Symbol.asyncDispose]());

  /** A machine's root folder as it was before, with the set-up. */
  async function setUp(setup: string, engine: string): Promise<string> {
    const { host } = site.registry;
    const root = join(site.folder, `root-${setup}-${engine}`);
    const containers = join(root, "etc/containers");
    const before = {
      // The lab's registry speaks no TLS, which the set-up takes along.
      "registries.conf": `[[registry]]\nlocation = "${host}"\ninsecure = true\n`,
      "policy.json": '{ "default": [{ "type": "insecureAcceptAnything" }] }',
    };
    await mkdir(containers, { recursive: true });
    for (const [name, text] of Object.entries(before))
      await writeFile(join(containers, name), text);
    const registry = ["podman", "crio"].includes(setup) ? ["--registry", host] : [];
    await run([NODE, SHOAL, "setup", setup, "--mirror", MIRROR, "--root", root, ...registry]);
    return root;
  }

  it.each(CASES)("of %s with %s arrives at the mirror", async (setup, name, etc, client) => {
    const root = await setUp(setup, name);
    await using engine = await startEngine(name, {
      place: site.lan.machines[0]!,
      folder: join(site.folder, `${setup}-${name}`),
      registry: site.registry.host,
      mirror: MIRROR,
      settings: join(root, "etc", etc),
    });
    const given = async (): Promise<number> => (await daemon.status()).traffic.toClientsBytes;
    const before = await given();
    await engine.pull("library/app:v1");
    expect((await given()) - before).toBeGreaterThanOrEqual(imageBytes(image));
    const clients = (await daemon.status()).clients ?? [];
    const latest = clients.toSorted((a, b) => (a.lastSeenAt < b.lastSeenAt ? 1 : -1))[0]?.engine;
    expect(latest).toBe(client);
  });
});
