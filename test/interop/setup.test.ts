import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon, NODE } from "../lab/daemon.ts";
import { type EngineName, startEngine } from "../lab/engines.ts";
import { createImage, imageBytes } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { run } from "../lab/run.ts";
import { createSite, MIB, MIRROR, type Site } from "./site.ts";

const skipped = await prepareLab();
const SHOAL = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;

/** What each engine's settings are in, below the root that `shoal setup` was given. */
const SETTINGS = {
  podman: "etc/containers/registries.conf.d/shoal.conf",
  containerd: "etc/containerd/certs.d",
  docker: "etc/docker/daemon.json",
} as const;

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

  it.each<[keyof typeof SETTINGS, EngineName, readonly string[]]>([
    ["podman", "podman", ["--registry"]],
    ["containerd", "containerd", []],
    ["docker", "dockerd", []],
  ])("of %s arrives at the mirror", { timeout: 120_000 }, async (setup, name, flags) => {
    const { host } = site.registry;
    const root = join(site.folder, `root-${setup}`);
    const own = join(root, "etc/containers/registries.conf");
    await mkdir(dirname(own), { recursive: true });
    // The lab's registry speaks no TLS, which the set-up takes along.
    await writeFile(own, `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
    const hosts = flags.flatMap((flag) => [flag, host]);
    await run([NODE, SHOAL, "setup", setup, "--mirror", MIRROR, "--root", root, ...hosts]);
    await using engine = await startEngine(name, {
      place: site.lan.machines[0]!,
      folder: join(site.folder, setup),
      registry: host,
      mirror: MIRROR,
      settings: join(root, SETTINGS[setup]),
    });
    const given = async (): Promise<number> => (await daemon.status()).traffic.toClientsBytes;
    const before = await given();
    await engine.pull("library/app:v1");
    expect((await given()) - before).toBeGreaterThanOrEqual(imageBytes(image));
    const clients = (await daemon.status()).clients ?? [];
    expect(clients.map((client) => client.engine)).toContain(setup);
  });
});
