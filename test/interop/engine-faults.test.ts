import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon, NODE } from "../lab/daemon.ts";
import { OPEN_ENGINES, startEngine } from "../lab/engines.ts";
import { createImage, type TestImage } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import type { OpenEngine } from "../lab/engine.ts";
import type { Place } from "../lab/lan.ts";
import { start, until } from "../lab/processes.ts";
import { startRegistry } from "../lab/registry.ts";
import { createSite, MIB, MIRROR, type Site } from "./site.ts";

const skipped = await prepareLab();
const FAULTY = new URL("../lab/faulty-upstream.ts", import.meta.url).pathname;
const FAULTY_PORT = 5001;
const HUB_PORT = 443;
/** Whatever goes wrong, no pull takes longer. */
const BOUND_MS = 60_000;
const LARGE_BYTES = 64 * MIB;
const SMALL_BYTES = 40 * 1024;
/** dockerd leaves a silent mirror after 15 s. */
const SICK_MS = 20_000;

const BROKEN_OFF = /unexpected EOF/;
const UNAVAILABLE = /invalid status code from registry 503/;

type Says = Readonly<Partial<Record<string, RegExp>>>;

/** Podman's family asks nobody else for the blobs of a manifest that it has. */
const family = (says: RegExp): Says => ({ skopeo: says, podman: says, buildah: says });

/**
 * What an upstream does (test/lab/faulty-upstream.ts), and what the engines say that do not get the image at
 * once, from it or from their own upstream.
 */
const FAULTS: Readonly<Record<string, Says>> = {
  breaks: {},
  cut: family(/unexpected EOF|invalid status code from registry 503/),
  short: family(UNAVAILABLE),
  wrong: { ...family(BROKEN_OFF), containerd: /unexpected commit digest/ },
  "wrong-small": family(UNAVAILABLE),
  othermanifest: {},
  pagemanifests: {},
  pageblobs: family(UNAVAILABLE),
  moves: {},
};

function digestsOf({ manifest, blobs }: TestImage): string[] {
  return [manifest, ...blobs].map(({ descriptor }) => descriptor.digest).toSorted();
}

/** Pulls, and tells what the engine says if it fails. What it has then must be one of the images, byte for byte. */
async function pull(
  engine: OpenEngine,
  reference: string,
  ...images: readonly TestImage[]
): Promise<string | undefined> {
  try {
    await engine.pull(reference, { timeoutMs: BOUND_MS });
  } catch (error) {
    const { message, cause } = error as Error & { readonly cause: { readonly killed?: boolean } };
    if (cause.killed === true) throw new Error("the engine hangs", { cause: error });
    return message;
  }
  const contents = await engine.contents(reference);
  expect(images.map(digestsOf)).toContainEqual(contents.toSorted());
  return undefined;
}

/** Pulls, and expects that it succeeds, or that the engine says the given. */
async function expectEnd(says: RegExp | undefined, pulled: Promise<string | undefined>) {
  if (says === undefined) expect(await pulled).toBeUndefined();
  else expect(await pulled).toMatch(says);
}

describe.skipIf(skipped !== undefined)("engines", () => {
  let site: Site;
  let hub: { readonly address: string; readonly caFile: string };
  let engines: OpenEngine[];
  const stack = new AsyncDisposableStack();

  beforeAll(async () => {
    site = stack.use(await createSite({ machines: 3 }));
    const { lan, registry, folder } = site;
    const { caFile } = stack.use(
      await startRegistry(lan.registry, join(folder, "hub"), {
        port: HUB_PORT,
        tls: true,
        names: ["registry-1.docker.io"],
        extra: `proxy: { remoteurl: "${registry.url}" }`,
      }),
    );
    hub = { address: lan.registry.address, caFile: caFile! };
    const argv = [NODE, FAULTY, "0.0.0.0", String(FAULTY_PORT), registry.url];
    const outputFile = join(folder, "faulty.log");
    const faulty = stack.use(start(lan.registry.within(argv), { outputFile }));
    const listens = async (): Promise<boolean> => (await faulty.output()).includes("ready");
    await until("the faulty upstream listens", listens);
    const [place] = lan.machines;
    [engines] = await Promise.all([startEngines(place!), startDaemon(place!)]);
  });
  afterAll(async () => await stack.disposeAsync());

  async function startDaemon(place: Place): Promise<LabDaemon> {
    const endpoint = `${site.lan.registry.address}:${FAULTY_PORT}`;
    return await site.daemon(place, { token: undefined, endpoint });
  }

  /** All engines, set up so that they can go on without Shoal. */
  async function startEngines(place: Place): Promise<OpenEngine[]> {
    const started = OPEN_ENGINES.map(
      async (name) =>
        await startEngine(name, {
          place,
          folder: join(site.folder, `${name}-${place.address}`),
          registry: site.registry.host,
          mirror: MIRROR,
          own: hub,
        }),
    );
    return (await Promise.all(started)).map((engine) => stack.use(engine));
  }

  async function forEach(
    those: readonly OpenEngine[],
    act: (engine: OpenEngine) => Promise<void>,
  ): Promise<void> {
    await Promise.all(those.map(act));
  }

  it.concurrent.each(Object.entries(FAULTS))(
    "get the right image, at the second try at the latest, of an upstream of the kind %s",
    async (fault, says) => {
      await forEach(engines, async (engine) => {
        const { name } = engine;
        const images = [createImage([fault === "wrong-small" ? SMALL_BYTES : MIB])];
        await site.push(`library/${fault}`, name, images[0]!);
        if (fault === "moves") {
          images.push(createImage([MIB]));
          await site.push(`library/${fault}`, `${name}-moved`, images[1]!);
        }
        const reference = `library/${fault}:${name}`;
        await expectEnd(says[name], pull(engine, reference, ...images));
        // Then the mirror refuses the manifest, and whoever has failed turns to its own upstream.
        if (says[name] !== undefined)
          await expectEnd(undefined, pull(engine, reference, ...images));
      });
    },
  );

  it.concurrent("go on by themselves when the daemon is killed at half of 64 MiB", async () => {
    const [, place] = site.lan.machines;
    const image = createImage([LARGE_BYTES]);
    await site.push("library/stall", "v1", image);
    const [daemon, own] = await Promise.all([startDaemon(place!), startEngines(place!)]);
    const dies = family(BROKEN_OFF);
    const pulls = forEach(own, async (engine) => {
      await expectEnd(dies[engine.name], pull(engine, "library/stall:v1", image));
    });
    pulls.catch(() => undefined);
    await until("all engines have nearly half", async () => {
      const { toClientsBytes } = (await daemon.status()).traffic;
      return toClientsBytes > own.length * LARGE_BYTES * 0.49;
    });
    await daemon.kill9();
    await pulls;
    // The next pull finds no mirror, and none of what has come is in its way.
    const failed = own.filter(({ name }) => dies[name] !== undefined);
    await forEach(failed, async (engine) => {
      await expectEnd(undefined, pull(engine, "library/stall:v1", image));
    });
    const small = createImage([MIB]);
    await site.push("library/app", "down", small);
    await forEach(own, async (engine) => {
      await expectEnd(undefined, pull(engine, "library/app:down", small));
    });
  });

  it.concurrent("but dockerd wait for a daemon that is stopped, and go on with it", async () => {
    const [, , place] = site.lan.machines;
    const image = createImage([MIB]);
    await site.push("library/app", "sick", image);
    const [daemon, own] = await Promise.all([startDaemon(place!), startEngines(place!)]);
    const ended = new Set<string>();
    process.kill(daemon.pid, "SIGSTOP");
    try {
      const pulls = forEach(own, async (engine) => {
        await expectEnd(undefined, pull(engine, "library/app:sick", image));
        ended.add(engine.name);
      });
      await Promise.race([pulls, delay(SICK_MS)]);
      expect([...ended]).toEqual(["dockerd"]);
      process.kill(daemon.pid, "SIGCONT");
      await pulls;
    } finally {
      process.kill(daemon.pid, "SIGCONT");
    }
  });
});
