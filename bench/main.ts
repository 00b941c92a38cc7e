/** `npm run bench -- SCENARIO`: what the data path does, as ratios to what bounds it. See docs/performance.md. */
import { Command, Option } from "commander";
import { prepareLab } from "../test/lab/install.ts";
import { tmpdir } from "node:os";
import { runAll } from "./all.ts";
import { commitOf } from "./commit.ts";
import { type BenchOptions, table } from "./result.ts";
import { SCENARIOS } from "./scenarios.ts";
import { warmMemory } from "./warm-memory.ts";

const PROGRAMS =
  "ip nsenter sysctl curl docker-registry skopeo containerd taskset iptables openssl".split(" ");
const STANDARD: BenchOptions = {
  nodes: 10,
  sizeMib: 256,
  uplinkMbit: 200,
  lanMbit: 1000,
  layers: 1,
  rounds: 3,
  client: "api",
};

const list = Object.entries(SCENARIOS).map(([name, { what }]) => `  ${name.padEnd(18)}${what}`);
const command = new Command("bench")
  .description("Measures the data path in the lab. Needs root, for network namespaces.")
  .argument("<scenario>", "one of those below, or all: every row of bench/rows.ts")
  .option("--nodes <n>", "machines")
  .option("--size <MiB>", "size of the image")
  .option("--uplink <Mbit>", "rate of the way to the registry")
  .option("--lan <Mbit>", "rate of each machine's link")
  .option("--layers <n>", "layers of the image")
  .option("--rounds <n>", "how often it is measured, where once is too noisy")
  .addOption(new Option("--client <who>", "who pulls in a site").choices(["api", "skopeo"]))
  .option(
    "--warm-memory",
    "use all memory once before, as a virtual machine's is slow at first; all: always",
  )
  .option("--json", "print one JSON object")
  .option("--json-dir <folder>", "all: write each row's JSON here")
  .option("--only <rows>", "all: these rows, with commas between them")
  .addHelpText("after", `\nScenarios:\n${list.join("\n")}`);
command.parse();
const given = command.opts<
  Record<string, string | undefined> & { json?: boolean; warmMemory?: boolean }
>();
const name = command.args[0]!;
const reason = await prepareLab(PROGRAMS);
if (reason !== undefined) command.error(`the bench can't run here: ${reason}`);
const warmed = name === "all" || given.warmMemory === true ? await warmMemory(tmpdir()) : undefined;
if (name === "all") {
  const over = await runAll(given["jsonDir"], given["only"]?.split(","));
  await warmed?.[Symbol.asyncDispose]();
  process.exit(over);
}
const scenario = SCENARIOS[name];
if (scenario === undefined)
  command.error(`no such scenario; choose ${Object.keys(SCENARIOS).join(", ")} or all`);
const number = (option: string, otherwise: number | undefined): number | undefined =>
  given[option] === undefined ? otherwise : Number(given[option]);
const defaults = { ...STANDARD, ...scenario!.defaults };
const result = await scenario!.run({
  nodes: number("nodes", defaults.nodes)!,
  sizeMib: number("size", defaults.sizeMib)!,
  uplinkMbit: number("uplink", defaults.uplinkMbit),
  lanMbit: number("lan", defaults.lanMbit),
  layers: number("layers", defaults.layers)!,
  rounds: number("rounds", defaults.rounds)!,
  client: (given["client"] as BenchOptions["client"] | undefined) ?? defaults.client,
});
await warmed?.[Symbol.asyncDispose]();
const words = process.argv.slice(2).filter((word) => word !== "--json");
const told = {
  ...result,
  command: `npm run bench -- ${words.join(" ")}`,
  commit: await commitOf(),
};
console.log(given.json === true ? JSON.stringify(told) : table(result));
process.exit();
