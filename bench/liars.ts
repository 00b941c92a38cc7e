import { join } from "node:path";
import { MIB } from "../test/interop/site.ts";
import { NODE } from "../test/lab/daemon.ts";
import { start, until } from "../test/lab/processes.ts";
import { against, type BenchOptions, type BenchResult } from "./result.ts";
import { linkBound, prepareRun, upTo } from "./swarm-run.ts";

const EVIL = new URL("../test/lab/evil-daemon.ts", import.meta.url).pathname;

/** All pull at once, and one of them lies to the others, attesting its lies. */
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
  });
  const { site } = run;
  const folder = join(site.folder, "liar");
  const init = {
    folder,
    token: site.token,
    registry: site.registry.host,
    reference: `${site.registry.host}/app:v1`,
    sly,
  };
  const argv = [NODE, EVIL, JSON.stringify(init)];
  await using liar = start(run.places.at(-1)!.within(argv), {
    outputFile: join(site.folder, "liar.log"),
  });
  await until("the liar is ready", async () => /^ready /m.test(await liar.output()));
  const id = /^ready (\S+)/m.exec(await liar.output())![1]!;
  await Promise.all(run.daemons.map(async (daemon) => await daemon.peersUp(honest.length)));
  const measured = await run.measure(async () => {
    liar.kill("SIGUSR2");
    await Promise.all(honest.map(async (index) => await run.pull(index)));
    return run.elapsed();
  });
  const lists = await Promise.all(run.daemons.map(async (daemon) => await daemon.api.peers()));
  const struck = lists.map(({ peers }) =>
    peers.filter(({ strikes }) => strikes > 0).map((peer) => peer.id),
  );
  await liar[Symbol.asyncDispose]();
  const output = await liar.output();
  const told = Number(/^told ([0-9]+)/m.exec(output)?.[1] ?? 0);
  return {
    scenario,
    ...against(linkBound(run), measured),
    checks: {
      "all honest ones are right": await run.right(honest),
      "the liar has lied": told > 0,
      "the liar is struck everywhere": struck.every((ids) => ids.includes(id)),
      "nobody else is struck": struck.every((ids) => ids.every((one) => one === id)),
    },
    details: {
      liesTold: told,
      struckBy: struck.filter((ids) => ids.includes(id)).length,
      othersStruck: struck.flat().filter((one) => one !== id).length,
      liarSaid: output.replace(/^ready.*$/m, "").trim(),
    },
  };
}

/** It lies in everything that it attests. */
export async function liar(options: BenchOptions): Promise<BenchResult> {
  return await withLiar("liar", false, options);
}

/** It lies in one piece, the first that it has read from the registry. */
export async function slyLiar(options: BenchOptions): Promise<BenchResult> {
  return await withLiar("sly-liar", true, options);
}
