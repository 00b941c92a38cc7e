import { join } from "node:path";
import type { Peer } from "@shoal/api";
import { MIB } from "../test/interop/site.ts";
import { NODE } from "../test/lab/daemon.ts";
import { createImage } from "../test/lab/images.ts";
import { start, until } from "../test/lab/processes.ts";
import { createOutsideNotary, shows } from "../test/lab/proof.ts";
import { against, type BenchOptions, type BenchResult } from "./result.ts";
import { linkBound, prepareRun, pullByApi, upTo } from "./swarm-run.ts";

const EVIL = new URL("../test/lab/evil-daemon.ts", import.meta.url).pathname;
/** Layer of the second image, which the liar has first and is false about as well. */
const SECOND_BYTES = 16 * MIB;
/** False blobs within a day that ban. */
const BANNING = 2;
/** A verdict waits for the convicting member's own copy of the blob, and is news within so long. Milliseconds. */
const VERDICT_MS = 15_000;

/**
 * All pull at once, and one of them lies to the others, attesting its lies; then all pull a second image, whose
 * only holder it is. The registry speaks TLS: what is read without may not have been the reader's lie.
 */
async function withLiar(
  scenario: string,
  sly: boolean,
  options: BenchOptions,
): Promise<BenchResult> {
  const honest = upTo(options.nodes - 1);
  await using run = await prepareRun({
    options,
    layers: [options.sizeMib * MIB],
    daemons: honest.length,
    registryTls: true,
  });
  const { site, daemons } = run;
  const { host, caFile } = site.registry;
  const second = createImage([SECOND_BYTES]);
  await site.push("app", "v2", second);
  const references = [`${host}/app:v2`, `${host}/app:v1`];
  const folder = join(site.folder, "liar");
  const init = { folder, token: site.token, registry: host, caFile, references, sly };
  const argv = [NODE, EVIL, JSON.stringify(init)];
  await using liar = start(run.places.at(-1)!.within(argv), {
    outputFile: join(site.folder, "liar.log"),
  });
  const said = async (line: RegExp): Promise<boolean> => line.test(await liar.output());
  await until("the liar is ready", async () => await said(/^ready /m));
  const id = /^ready (\S+)/m.exec(await liar.output())![1]!;
  await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(honest.length)));
  liar.kill("SIGUSR2");
  await until("the liar has the second image", async () => await said(/^(pulled|failed)/m));

  const measured = await run.measure(async () => {
    liar.kill("SIGUSR2");
    await Promise.all(honest.map(async (index) => await run.pull(index)));
    return run.elapsed();
  });
  const views = async (): Promise<Peer[][]> =>
    await Promise.all(daemons.map(async (daemon) => (await daemon.api.peers()).peers));
  /** What each honest member thinks of the liar, once it thinks it, or after a while. */
  const verdicts = async (count: number): Promise<(Peer | undefined)[]> => {
    const ofLiar = async () => (await views()).map((peers) => peers.find((peer) => peer.id === id));
    await until(
      "the verdicts",
      async () => (await ofLiar()).every((peer) => (peer?.falseBlobs?.length ?? 0) >= count),
      VERDICT_MS,
    ).catch(() => undefined);
    return await ofLiar();
  };
  const first = await verdicts(1);
  await Promise.all(daemons.map(async (daemon) => await pullByApi(daemon, references[0]!)));
  const last = await verdicts(BANNING);

  const notary = await createOutsideNotary(site.token);
  const blobs = [...run.image.blobs, ...second.blobs];
  const shown = await Promise.all(
    last.map(async (peer) => {
      const counted = (peer?.falseBlobs ?? []).filter(({ counts }) => counts);
      const holds = await Promise.all(
        counted.map(async ({ proof }) => await shows(notary, proof, id, blobs)),
      );
      return holds.length >= BANNING && holds.every(Boolean);
    }),
  );
  const othersStruck = (await views())
    .flat()
    .filter((peer) => peer.id !== id && (peer.strikes > 0 || peer.bannedUntil !== undefined));
  await liar[Symbol.asyncDispose]();
  const output = await liar.output();
  const told = Number(/^told ([0-9]+)/m.exec(output)?.[1] ?? 0);
  const banned = (peer: Peer | undefined): boolean => peer?.bannedUntil !== undefined;
  return {
    scenario,
    ...against(linkBound(run), measured),
    checks: {
      "all honest ones are right": await run.right(honest),
      "the liar has lied": told > 0,
      "the first false blob is a strike everywhere": first.every(
        (peer) => peer?.falseBlobs?.length === 1 && peer.strikes > 0 && !banned(peer),
      ),
      "the second is a ban everywhere": last.every(banned),
      "every ban has proofs that hold elsewhere": shown.every(Boolean),
      "nobody else is struck": othersStruck.length === 0,
    },
    details: {
      liesTold: told,
      struckBy: first.filter((peer) => (peer?.strikes ?? 0) > 0).length,
      bannedBy: last.filter(banned).length,
      provedBy: shown.filter(Boolean).length,
      falseBlobsKept: last.map((peer) => peer?.falseBlobs?.length ?? 0),
      othersStruck: othersStruck.length,
      liarSaid: output.replace(/^ready.*$/m, "").trim(),
    },
  };
}

/** It lies in everything that it attests. */
export async function liar(options: BenchOptions): Promise<BenchResult> {
  return await withLiar("liar", false, options);
}

/** It lies in one piece of each blob, the first that it has read from the registry. */
export async function slyLiar(options: BenchOptions): Promise<BenchResult> {
  return await withLiar("sly-liar", true, options);
}
