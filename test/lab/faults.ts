import type { Lan, Place } from "./lan.ts";
import { run } from "./run.ts";

/** Lets the registry's bytes reach a machine at `kbit` only; what other machines send it comes at `lanMbit`. */
export async function slowFromRegistry(
  lan: Lan,
  machine: Place,
  rates: { readonly kbit: number; readonly lanMbit: number },
): Promise<void> {
  const port = lan.portOf(machine);
  const tc = async (...words: readonly string[]): Promise<string> =>
    await run(["tc", "-n", lan.router.name, ...words.flatMap((word) => word.split(" "))]);
  await tc(`qdisc replace dev ${port} root handle 1: htb default 10`);
  await tc(
    `class add dev ${port} parent 1: classid 1:10 htb rate ${rates.lanMbit}mbit burst 256kb`,
  );
  await tc(`class add dev ${port} parent 1: classid 1:20 htb rate ${rates.kbit}kbit burst 8kb`);
  const match = `u32 match ip src ${lan.registry.address}/32 flowid 1:20`;
  await tc(`filter add dev ${port} parent 1: protocol ip ${match}`);
}

/** Lets no packet pass between two groups of machines, silently. Everybody keeps the uplink. */
export async function cut(groups: readonly [readonly Place[], readonly Place[]]): Promise<void> {
  await filter("-A", groups);
}

/** Takes {@link cut} back. */
export async function heal(groups: readonly [readonly Place[], readonly Place[]]): Promise<void> {
  await filter("-D", groups);
}

async function filter(
  action: "-A" | "-D",
  [left, right]: readonly [readonly Place[], readonly Place[]],
): Promise<void> {
  const drop = async (at: Place, from: readonly Place[]): Promise<string> => {
    const sources = from.map(({ address }) => address).join(",");
    return await run(at.within(["iptables", "-w", action, "INPUT", "-s", sources, "-j", "DROP"]));
  };
  await Promise.all([
    ...left.map(async (place) => await drop(place, right)),
    ...right.map(async (place) => await drop(place, left)),
  ]);
}
