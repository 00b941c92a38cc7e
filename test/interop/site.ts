import { createReadStream } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDigester } from "@shoal/oci";
import { createSiteToken, type SiteToken } from "@shoal/network";
import { type LabDaemon, type LabDaemonInit, startDaemon } from "../lab/daemon.ts";
import { createImage, pushImage, type TestImage } from "../lab/images.ts";
import { createLan, type Lan, type LanInit, type Place } from "../lab/lan.ts";
import { type LabRegistry, startRegistry } from "../lab/registry.ts";
import { run } from "../lab/run.ts";

export const MIB = 1024 * 1024;
export const MIRROR = "127.0.0.1:5055";

export interface SiteInit extends LanInit {
  /** The registry speaks TLS, with a certificate of an authority that its daemons trust for it. @default false */
  readonly registryTls?: boolean;
}

/** A LAN with a registry behind its uplink, and whatever daemons a test starts in it. */
export interface Site extends AsyncDisposable {
  readonly lan: Lan;
  readonly registry: LabRegistry;
  readonly token: SiteToken;
  readonly folder: string;
  push(name: string, tag: string, image: TestImage): Promise<void>;
  daemon(place: Place, change?: Partial<LabDaemonInit>): Promise<LabDaemon>;
  /** Copies an image with skopeo, through the mirror or straight from the registry. */
  copy(place: Place, reference: string, from: "mirror" | "registry"): Promise<string>;
  /** Bytes that come into the site while `work` runs. */
  uplink(work: () => Promise<unknown>): Promise<number>;
}

export async function createSite(init: SiteInit): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "shoal-lab-"));
  stack.defer(async () => await rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  const lan = stack.use(await createLan(init));
  const registry = stack.use(
    await startRegistry(lan.registry, join(folder, "registry"), { tls: init.registryTls ?? false }),
  );
  const { caFile } = registry;
  const token = createSiteToken();
  let count = 0;
  const later = stack.move();
  return {
    lan,
    registry,
    token,
    folder,
    async push(name, tag, image) {
      await pushImage(lan.registry, registry.url, name, tag, image, join(folder, "push"), caFile);
    },
    async daemon(place, change = {}) {
      const started = await startDaemon({
        place,
        folder: join(folder, `daemon${count++}`),
        token,
        registry: registry.host,
        ...(caFile === undefined ? {} : { registryCaFile: caFile }),
        ...change,
      });
      later.use(started);
      return started;
    },
    async copy(place, reference, from) {
      const target = join(folder, `copy${count++}`);
      const host =
        from === "mirror" ? `${MIRROR}/${registry.host.replace(":", "_")}` : registry.host;
      const source = `docker://${host}/${reference}`;
      await run(
        place.within(["skopeo", "copy", "--src-tls-verify=false", source, `dir:${target}`]),
      );
      return target;
    },
    async uplink(work) {
      const before = await lan.uplinkBytes();
      await work();
      return (await lan.uplinkBytes()).in - before.in;
    },
    [Symbol.asyncDispose]: async () => await later.disposeAsync(),
  };
}

/** An image of about 100 MiB. */
export function createLargeImage(): TestImage {
  return createImage([2048, 6 * MIB, 30 * MIB, 64 * MIB]);
}

/** Names of blobs in a daemon's store whose bytes are not what their name says. */
export async function wrongBlobs(daemon: LabDaemon): Promise<string[]> {
  const folder = join(daemon.state, "store/blobs/sha256");
  const wrong: string[] = [];
  for (const hex of await readdir(folder)) {
    const digester = createDigester("sha256");
    for await (const chunk of createReadStream(join(folder, hex))) digester.update(chunk as Buffer);
    if (digester.digest() !== `sha256:${hex}`) wrong.push(hex);
  }
  return wrong;
}
