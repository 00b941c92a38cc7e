import { join } from "node:path";
import { cut, heal, slowFromRegistry } from "../lab/faults.ts";
import { NODE, type LabDaemon } from "../lab/daemon.ts";
import type { TestImage } from "../lab/images.ts";
import type { Place } from "../lab/lan.ts";
import { start, until } from "../lab/processes.ts";
import { run } from "../lab/run.ts";
import type { Site } from "../interop/site.ts";
import { rank } from "@shoal/swarm";

/** A fault that a site gets while its members pull. Disposing takes it away, and waits until it is gone. */
export type Fault = (scene: Scene) => Promise<AsyncDisposable>;

/** Who pulls what while a fault is there. */
export interface Scene {
  readonly site: Site;
  readonly daemons: readonly LabDaemon[];
  readonly places: readonly Place[];
  /** Where nobody is but who means ill. */
  readonly outside: Place;
  /** What all pull. */
  readonly image: TestImage;
  readonly reference: string;
  /** Chosen for this scene, from 0. */
  readonly victim: number;
  /** For files, one a scene. */
  readonly name: string;
  /** Rate of each machine's link. */
  readonly lanMbit: number;
}

const EVIL_MEMBER = new URL("../lab/evil-member.ts", import.meta.url).pathname;
const EVIL_DAEMON = new URL("../lab/evil-daemon.ts", import.meta.url).pathname;

export const FAULTS: Readonly<Record<string, Fault>> = {
  /** A member says that it has every blob, and sends noise. */
  async polluter({ site, outside, image, name }) {
    const blobs = image.blobs.map(({ descriptor }) => [descriptor.digest, descriptor.size]);
    const argv = [NODE, EVIL_MEMBER, site.token, JSON.stringify(blobs)];
    const polluter = start(outside.within(argv), { outputFile: join(site.folder, name) });
    await until("the polluter has announced", async () => /^ready /m.test(await polluter.output()));
    return polluter;
  },
  /** A member pulls as all do, and gives others lies that it has signed. */
  async liar({ site, outside, reference, name }) {
    const { host } = site.registry;
    const folder = join(site.folder, `${name}-state`);
    const init = { folder, token: site.token, registry: host, references: [reference], sly: false };
    const argv = [NODE, EVIL_DAEMON, JSON.stringify(init)];
    const liar = start(outside.within(argv), { outputFile: join(site.folder, name) });
    await until("the liar is ready", async () => /^ready /m.test(await liar.output()));
    liar.kill("SIGUSR2");
    return liar;
  },
  /** What one machine sends crawls at 2 Mbit/s. */
  async "slow peer"({ places, victim, lanMbit }) {
    const rate = async (mbit: number): Promise<void> => {
      const rule = `qdisc replace dev eth0 root tbf rate ${mbit}mbit burst 256kb latency 50ms`;
      await run(places[victim]!.within(["tc", ...rule.split(" ")]));
    };
    await rate(2);
    return { [Symbol.asyncDispose]: async () => await rate(lanMbit) };
  },
  /** The registry's bytes reach one machine at 256 kbit/s. */
  async "slow way"({ site, places, victim, lanMbit }) {
    const place = places[victim]!;
    await slowFromRegistry(site.lan, place, { kbit: 256, lanMbit });
    const rule = `qdisc replace dev ${site.lan.portOf(place)} root tbf rate ${lanMbit}mbit burst 256kb latency 50ms`;
    return {
      async [Symbol.asyncDispose]() {
        await run(["tc", "-n", site.lan.router.name, ...rule.split(" ")]);
      },
    };
  },
  /** No packet passes between two halves of the site. */
  async partition({ places }) {
    const half = places.length >> 1;
    const groups = [places.slice(0, half), places.slice(half)] as const;
    await cut(groups);
    return { [Symbol.asyncDispose]: async () => await heal(groups) };
  },
  /** The member that hands out the leases of the largest layer is killed, and started again. */
  async coordinator({ daemons, image }) {
    const largest = image.blobs.toSorted((a, b) => b.bytes.length - a.bytes.length)[0]!;
    const ids = await Promise.all(daemons.map(async (daemon) => (await daemon.status()).peerId));
    const [first] = rank(ids as never[], largest.descriptor.digest);
    const coordinator = daemons[ids.indexOf(first as string)]!;
    await coordinator.kill9();
    return { [Symbol.asyncDispose]: async () => await coordinator.restart() };
  },
  /** No packet passes between the site and the registry. */
  async "no uplink"({ site, places }) {
    const groups = [[site.lan.registry], places] as const;
    await cut(groups);
    return { [Symbol.asyncDispose]: async () => await heal(groups) };
  },
  /** The registry ends, and begins anew. */
  async "no registry"({ site }) {
    await site.registry.stop();
    return { [Symbol.asyncDispose]: async () => await site.registry.start() };
  },
};
