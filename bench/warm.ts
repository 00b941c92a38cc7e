import { join } from "node:path";
import { createSite, MIB, MIRROR, type Site } from "../test/interop/site.ts";
import { createImage, imageBytes, type TestImage } from "../test/lab/images.ts";
import type { Place } from "../test/lab/lan.ts";
import { startRegistry } from "../test/lab/registry.ts";
import { run } from "../test/lab/run.ts";
import { against, type BenchOptions, type BenchResult, GIB, median } from "./result.ts";
import { pullByApi } from "./swarm-run.ts";
import { transfer } from "./transfer.ts";
import { meterUsage, type Usage } from "./usage.ts";

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return (performance.now() - startMs) / 1000;
}

/** In the last round's image: what a direct pull takes over the uplink. */
async function directBytesOf(site: Site, reference: string): Promise<number> {
  return await site.uplink(async () => await site.copy(site.lan.router, reference, "registry"));
}

/** One machine gets an image from `holders` others that have it, on links that nothing shapes. */
async function fromHolders(
  scenario: string,
  holders: number,
  options: BenchOptions,
): Promise<BenchResult> {
  await using site = await createSite({ machines: holders + 1 });
  const places = site.lan.machines;
  const daemons = await Promise.all(places.map(async (place) => await site.daemon(place)));
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(holders)));
  const receiver = daemons[holders]!;
  const times: number[] = [];
  const raw: number[] = [];
  let image: TestImage | undefined;
  let reference = "";
  let rawCpuSeconds = 0;
  let uplinkBytes = 0;
  const cpu = { senders: 0, receiver: 0 };
  let usage: readonly Usage[] = [];
  for (let round = 0; round < options.rounds; round++) {
    image = createImage([options.sizeMib * MIB]);
    reference = `app:r${round}`;
    await site.push("app", `r${round}`, image);
    const name = `${site.registry.host}/${reference}`;
    for (const daemon of daemons.slice(0, holders)) await pullByApi(daemon, name);
    // In turns, as the machine's other work comes and goes.
    const file = join(site.folder, "raw");
    const bytes = imageBytes(image);
    const one = await transfer(places[0]!, places[holders]!, { bytes, file, folder: site.folder });
    raw.push(one.seconds);
    rawCpuSeconds += one.cpuSeconds;
    const meter = await meterUsage(daemons.map(({ pid }) => pid));
    uplinkBytes = await site.uplink(async () => {
      times.push(await seconds(async () => await pullByApi(receiver, name)));
    });
    usage = await meter.end();
    cpu.receiver += usage[holders]!.cpuSeconds;
    for (const sender of usage.slice(0, holders)) cpu.senders += sender.cpuSeconds;
  }
  const sizeBytes = imageBytes(image!);
  const movedGib = (sizeBytes * options.rounds) / GIB;
  const directBytes = await directBytesOf(site, reference);
  const makespanSeconds = median(times);
  const boundSeconds = median(raw);
  return {
    scenario,
    nodes: holders + 1,
    sizeBytes,
    uplinkBytes,
    directBytes,
    egressRatio: uplinkBytes / directBytes,
    ...against(
      {
        bound:
          "raw TCP between two processes, hashed and written to a file, median of the same run",
        boundSeconds,
      },
      { makespanSeconds },
    ),
    cpuSecondsPerGiB: (cpu.senders + cpu.receiver) / movedGib,
    maxRssBytes: Math.max(...usage.map((one) => one.maxRssBytes)),
    details: {
      sendersCpuSecondsPerGiB: cpu.senders / movedGib,
      receiverCpuSecondsPerGiB: cpu.receiver / movedGib,
      rawCpuSecondsPerGiB: rawCpuSeconds / movedGib,
      mibPerSecond: sizeBytes / MIB / makespanSeconds,
      rawMibPerSecond: sizeBytes / MIB / boundSeconds,
      seconds: times,
      rawSeconds: raw,
    },
  };
}

export async function warmPeer(options: BenchOptions): Promise<BenchResult> {
  return await fromHolders("warm-peer", 1, options);
}

export async function manyHolders(options: BenchOptions): Promise<BenchResult> {
  return await fromHolders("many-holders", 4, options);
}

/** A blob that the machine has, through the mirror, against a docker-registry on the same machine. */
export async function localHit(options: BenchOptions): Promise<BenchResult> {
  await using site = await createSite({ machines: 1 });
  const place = site.lan.machines[0] as Place;
  const daemon = await site.daemon(place, { token: undefined });
  const image = createImage([options.sizeMib * MIB]);
  await site.push("app", "v1", image);
  await pullByApi(daemon, `${site.registry.host}/app:v1`);
  const directBytes = await directBytesOf(site, "app:v1");
  // The same storage as the registry behind the uplink.
  await site.registry.stop();
  await using local = await startRegistry(place, join(site.folder, "registry"), { port: 5001 });
  const { digest, size } = image.blobs[1]!.descriptor;
  const get = async (url: string): Promise<number> =>
    await seconds(async () => await run(place.within(["curl", "-fsS", "-o", "/dev/null", url])));
  const times: number[] = [];
  const bounds: number[] = [];
  const meter = await meterUsage([daemon.pid]);
  const uplinkBytes = await site.uplink(async () => {
    for (let round = 0; round < options.rounds; round++) {
      bounds.push(await get(`http://127.0.0.1:5001/v2/app/blobs/${digest}`));
      times.push(await get(`http://${MIRROR}/v2/app/blobs/${digest}?ns=${site.registry.host}`));
    }
  });
  const [usage] = await meter.end();
  return {
    scenario: "local-hit",
    nodes: 1,
    sizeBytes: size,
    uplinkBytes,
    directBytes,
    egressRatio: uplinkBytes / directBytes,
    ...against(
      {
        bound: `docker-registry ${local.host} with the same blob on the same machine, median of the same run`,
        boundSeconds: median(bounds),
      },
      { makespanSeconds: median(times) },
    ),
    cpuSecondsPerGiB: usage!.cpuSeconds / ((size * options.rounds) / GIB),
    maxRssBytes: usage!.maxRssBytes,
    details: { seconds: times, registrySeconds: bounds },
  };
}
