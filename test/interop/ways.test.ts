import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabDaemon } from "../lab/daemon.ts";
import { type EngineName, startEngine } from "../lab/engines.ts";
import { type HttpProxy, startHttpProxy } from "../lab/http-proxy.ts";
import { createImage, imageBytes, pushImage, type TestImage } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import type { Place } from "../lab/lan.ts";
import { type LabRegistry, startRegistry } from "../lab/registry.ts";
import { run } from "../lab/run.ts";
import { createSite, MIB, MIRROR, type Site } from "./site.ts";

const skipped = await prepareLab();
const PLAIN_PORT = 5001;
const MIRRORED = "mirrored.example";

describe.skipIf(skipped !== undefined)("an engine's pull through a Shoal", () => {
  const stack = new AsyncDisposableStack();
  let site: Site;
  let plain: LabRegistry;
  let proxy: HttpProxy;
  /** Its machine has no way to the registries. */
  let behindProxy: LabDaemon;
  let direct: LabDaemon;

  beforeAll(async () => {
    site = stack.use(await createSite({ machines: 2, registryTls: true }));
    const [first, second] = site.lan.machines as [Place, Place];
    const { address } = site.lan.registry;
    plain = stack.use(
      await startRegistry(site.lan.registry, join(site.folder, "plain"), { port: PLAIN_PORT }),
    );
    proxy = stack.use(await startHttpProxy(site.lan.router, join(site.folder, "proxy")));
    await run(["ip", "-n", first.name, "route", "add", "unreachable", address]);
    // Each alone: a member with a way to the registry would give the other what it wants.
    behindProxy = await site.daemon(
      {
        ...first,
        within: (argv) => first.within(["env", `HTTPS_PROXY=${proxy.url}`, ...argv]),
      },
      {
        token: undefined,
        extra: `  "${plain.host}": { plainHttp: true, proxy: "${proxy.url}" }`,
      },
    );
    direct = await site.daemon(second, {
      token: undefined,
      extra: `  ${MIRRORED}: { endpoints: ["https://${address}:5999", "${site.registry.url}"], endpointsOnly: true }`,
    });
  }, 120_000);
  afterAll(async () => await stack.disposeAsync());

  /** Pulls by an engine of the daemon's machine, all of it through the mirror. */
  async function pull(
    daemon: LabDaemon,
    place: Place,
    name: EngineName,
    registry: string,
    image: TestImage,
  ): Promise<void> {
    await using engine = await startEngine(name, {
      place,
      folder: join(site.folder, `${name}-${place.name}`),
      registry,
      mirror: MIRROR,
    });
    const before = (await daemon.status()).traffic;
    const got = await engine.pull(`library/${name}:v1`);
    const [configuration] = image.blobs;
    const id = configuration!.descriptor.digest;
    expect(id).toContain(got);
    const after = (await daemon.status()).traffic;
    const bytes = imageBytes(image);
    expect(after.toClientsBytes - before.toClientsBytes).toBeGreaterThanOrEqual(bytes);
    expect(after.fromUpstreamBytes - before.fromUpstreamBytes).toBeGreaterThanOrEqual(bytes);
  }

  it.each(["cri", "dockerd"] as const)(
    "that reaches a registry over TLS, of an authority of its own, by a proxy's CONNECT alone, with %s",
    async (name) => {
      const image = createImage([2048, 3 * MIB]);
      await site.push(`library/${name}`, "v1", image);
      await pull(behindProxy, site.lan.machines[0]!, name, site.registry.host, image);
      expect(new Set(await proxy.asked())).toEqual(new Set([`CONNECT ${site.registry.host}`]));
    },
  );

  it("that reaches a registry without TLS by a proxy alone", async () => {
    const image = createImage([2048, 3 * MIB]);
    const push = join(site.folder, "push-plain");
    await pushImage(site.lan.registry, plain.url, "library/podman", "v1", image, push);
    await pull(behindProxy, site.lan.machines[0]!, "podman", plain.host, image);
    const asked = (await proxy.asked()).filter((what) => !what.startsWith("CONNECT"));
    for (const { descriptor } of image.blobs)
      expect(asked).toContain(`GET ${plain.url}/v2/library/podman/blobs/${descriptor.digest}`);
  });

  it.each(["cri", "podman"] as const)(
    "whose registry has two endpoints, the first of them down, with %s",
    async (name) => {
      const image = createImage([2048, 3 * MIB]);
      await site.push(`library/${name}`, "v1", image);
      await pull(direct, site.lan.machines[1]!, name, MIRRORED, image);
      const logs = JSON.stringify(await direct.logs());
      expect(logs).toContain(":5999");
    },
  );
});
