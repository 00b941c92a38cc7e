/** `npm run chaos`: what must not happen, tried again and again. See docs/reliability.md. */
import { writeFile } from "node:fs/promises";
import { Command } from "commander";
import { prepareLab } from "../lab/install.ts";
import { sitePart } from "./faulty-site.ts";
import { killPart } from "./kill.ts";
import type { ChaosPart, ChaosResult } from "./part.ts";
import { rotPart } from "./rot.ts";
import { soakPart } from "./soak.ts";

const PARTS: Readonly<Record<string, { readonly what: string; readonly run: ChaosPart }>> = {
  kill: { what: "kill −9 at calls of the file system and at random moments", run: killPart },
  rot: { what: "a disk that gives back other bytes, under a running daemon", run: rotPart },
  site: { what: "liars, slow peers, a partition and other faults of a site", run: sitePart },
  soak: { what: "mixed pulls for a long time, with what they hold of the machine", run: soakPart },
};

const list = Object.entries(PARTS).map(([name, { what }]) => `  ${name.padEnd(8)}${what}`);
const command = new Command("chaos")
  .description("Tries what must not happen, in the lab. Needs root, for network namespaces.")
  .argument("[part...]", "some of those below")
  .option("--seed <n>", "chooses the same faults again", Number)
  .option("--long", "the form to run by hand, hours of it")
  .option("--rounds <n>", "so many rounds, in parts that have rounds", Number)
  .option("--minutes <n>", "so long, in soak", Number)
  .option("--machines <n>", "so many, in parts that have a site", Number)
  .option("--json <file>", "writes what came out")
  .addHelpText("after", `\nParts:\n${list.join("\n")}`);
command.parse();
const given = command.opts<{
  seed?: number;
  long?: boolean;
  rounds?: number;
  minutes?: number;
  machines?: number;
  json?: string;
}>();
const names = command.args.length === 0 ? Object.keys(PARTS) : command.args;
const unknown = names.find((name) => PARTS[name] === undefined);
if (unknown !== undefined) command.error(`no such part: ${unknown}`);
const reason = await prepareLab(
  "ip nsenter sysctl curl docker-registry skopeo iptables".split(" "),
);
if (reason !== undefined) command.error(`chaos can't run here: ${reason}`);

const { seed = Date.now() % 1_000_000, long = false, json, ...init } = given;
const results: Record<string, ChaosResult & { readonly seconds: number }> = {};
for (const name of names) {
  console.log(`${name}, seed ${seed}`);
  const startMs = performance.now();
  const tell = (line: string): void => console.log(`  ${line}`);
  const result = await PARTS[name]!.run({ ...init, seed, long, tell });
  results[name] = { ...result, seconds: Math.round((performance.now() - startMs) / 1000) };
}
for (const [name, { figures, failures, seconds }] of Object.entries(results)) {
  console.log(`\n${name}: ${failures.length === 0 ? "passed" : "FAILED"} in ${seconds} s`);
  for (const [what, figure] of Object.entries({ ...figures, failures: failures.length }))
    console.log(`  ${what.padEnd(32)}${String(figure).padStart(12)}`);
  for (const failure of failures) console.log(`  ${failure}`);
}
if (json !== undefined) await writeFile(json, JSON.stringify({ seed, long, results }, null, 2));
process.exit(Object.values(results).some(({ failures }) => failures.length > 0) ? 1 : 0);
