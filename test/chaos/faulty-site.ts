import { setTimeout as delay } from "node:timers/promises";
import { createSite, MIB, wrongBlobs } from "../interop/site.ts";
import type { LabDaemon } from "../lab/daemon.ts";
import { createImage } from "../lab/images.ts";
import { type ChaosPart, type Checks, createChecks, createDice } from "./part.ts";
import { FAULTS, type Scene } from "./site-faults.ts";
import { ended } from "./waiting.ts";

const LONG = { machines: 20, rounds: 80 };
const SHORT = { machines: 5, rounds: Object.keys(FAULTS).length };
const UPLINK_MBIT = 100;
const LAN_MBIT = 500;
/** A pull may wait for a fault to go, but not for ever. */
const PULL_MS = 120_000;
/** Those that mean ill come before the pulls; the rest strikes in the middle. */
const BEFORE = new Set(["polluter", "liar", "slow peer", "slow way"]);

/** Members of a site pull while one fault after the other is made and taken away. */
export const sitePart: ChaosPart = async ({ seed, long, rounds, machines, tell }) => {
  const dice = createDice(seed);
  const checks = createChecks(tell);
  const form = long ? LONG : SHORT;
  const count = rounds ?? form.rounds;
  const members = machines ?? form.machines;
  await using site = await createSite({
    machines: members + 1,
    uplinkMbit: UPLINK_MBIT,
    lanMbit: LAN_MBIT,
  });
  const places = site.lan.machines.slice(0, members);
  const outside = site.lan.machines[members]!;
  const daemons = await Promise.all(places.map(async (place) => await site.daemon(place)));
  const honest = new Set(
    await Promise.all(daemons.map(async (daemon) => (await daemon.status()).peerId)),
  );
  const order = dice.some(Object.keys(FAULTS).length, Object.keys(FAULTS));
  const tally = { pulls: 0, clients: 0, failed: 0, refused: 0, retried: 0, slowestMs: 0 };
  const codes = new Map<string, number>();

  for (let round = 0; round < count; round++) {
    await Promise.all(daemons.map(async (daemon) => await daemon.peersUp(members - 1)));
    const fault = order[round % order.length]!;
    const image = createImage([2048, MIB, 3 * MIB, (long ? 40 : 5) * MIB]);
    const name = `all${round}`;
    await site.push(name, "v1", image);
    const reference = `${site.registry.host}/${name}:v1`;
    const scene: Scene = {
      site,
      daemons,
      places,
      outside,
      image,
      reference,
      victim: dice.below(members),
      name: `fault${round}`,
      lanMbit: LAN_MBIT,
    };
    const others = createImage([2 * MIB]);
    await site.push(`some${round}`, "v1", others);
    const clients = dice.some(2, [...places.keys()]);
    const startMs = performance.now();
    const make = async (): Promise<AsyncDisposable> => await FAULTS[fault]!(scene);
    let made = BEFORE.has(fault) ? await make() : undefined;
    const ids = await Promise.all(
      daemons.map(async (daemon) => {
        await delay(dice.float() * 300);
        return (await daemon.api.startPull({ reference })).id;
      }),
    );
    const copies = clients.map(async (index) => {
      tally.clients += 1;
      return await site.copy(places[index]!, `some${round}:v1`, "mirror").then(
        () => undefined,
        (error: unknown) => String(error),
      );
    });
    await delay(dice.float() * 600);
    made ??= await make();
    await delay(long ? 2000 + dice.float() * 20_000 : 2000);
    // What means ill stays to the end.
    if (!BEFORE.has(fault)) await made[Symbol.asyncDispose]();

    const what = `round ${round} (${fault})`;
    for (const [index, daemon] of daemons.entries()) {
      const pull = await ended(daemon, ids[index]!, reference, PULL_MS).catch(() => undefined);
      tally.pulls += 1;
      checks.expect(pull !== undefined, `${what}: a pull has not ended`);
      if (pull === undefined || pull.state === "done") continue;
      tally.failed += 1;
      const code = pull.error?.code ?? "none";
      codes.set(code, (codes.get(code) ?? 0) + 1);
      checks.expect(code.startsWith("ERR_"), `${what}: a pull is ${pull.state} with error ${code}`);
    }
    tally.slowestMs = Math.max(tally.slowestMs, performance.now() - startMs);
    for (const refusal of await Promise.all(copies)) {
      if (refusal === undefined) continue;
      tally.refused += 1;
      tell(`${what}: skopeo gave up: ${refusal.slice(-200).trim()}`);
    }
    if (BEFORE.has(fault)) await made[Symbol.asyncDispose]();
    tally.retried += await retry(daemons, reference, checks, what);
    await expectRight(daemons, honest, checks, what);
    await Promise.all(
      daemons.map(async (daemon) => await daemon.api.store.collect({ targetBytes: 0 })),
    );
    tell(
      `${round + 1}/${count} ${fault}: ended after ${((performance.now() - startMs) / 1000).toFixed(1)} s`,
    );
  }
  return {
    figures: {
      machines: members,
      rounds: count,
      "pulls by the API": tally.pulls,
      "ended with a clear error": tally.failed,
      ...Object.fromEntries([...codes].map(([code, number]) => [`  ${code}`, number])),
      "right when asked for again": tally.retried,
      "pulls by skopeo": tally.clients,
      "which skopeo gave up": tally.refused,
      "slowest round, s": Math.round(tally.slowestMs / 1000),
    },
    failures: checks.failures,
  };
};

/** With the fault gone, each pull that failed works. @returns how many those were */
async function retry(
  daemons: readonly LabDaemon[],
  reference: string,
  checks: Checks,
  what: string,
): Promise<number> {
  const again = daemons.map(async (daemon) => {
    const known = (await daemon.api.pulls()).find((pull) => pull.reference === reference);
    if (known?.state === "done") return 0;
    const { id } = await daemon.api.startPull({ reference });
    const pull = await ended(daemon, id, reference, PULL_MS).catch(() => undefined);
    checks.expect(
      pull?.state === "done",
      `${what}: asked for again, a pull is ${pull?.state} ${pull?.error?.code}`,
    );
    return 1;
  });
  return (await Promise.all(again)).reduce<number>((sum, one) => sum + one, 0);
}

async function expectRight(
  daemons: readonly LabDaemon[],
  honest: ReadonlySet<string>,
  checks: Checks,
  what: string,
): Promise<void> {
  for (const daemon of daemons) {
    const wrong = await wrongBlobs(daemon);
    checks.expect(wrong.length === 0, `${what}: wrong blobs ${wrong.join(", ")}`);
    const { peers } = await daemon.api.peers();
    const banned = peers.filter(({ id, bannedUntil }) => honest.has(id) && bannedUntil);
    checks.expect(banned.length === 0, `${what}: ${banned.length} honest members are banned`);
  }
}
