/** `npm run bench -- SCENARIO`: what the data path does, as ratios to what bounds it. See docs/performance.md. */
import { Command } from "commander";
import { prepareLab } from "../test/lab/install.ts";
import { coldStart } from "./cold-start.ts";
import { overhead } from "./overhead.ts";
import { type BenchOptions, type BenchResult, table } from "./result.ts";

const SCENARIOS: Readonly<Record<string, (options: BenchOptions) => Promise<BenchResult>>> = {
  overhead,
  "cold-start": coldStart,
};

const command = new Command("bench")
  .description("Measures the data path in the lab. Needs root, for network namespaces.")
  .argument("<scenario>", Object.keys(SCENARIOS).join(" or "))
  .option("--nodes <n>", "machines (cold-start)", "10")
  .option("--size <MiB>", "size of the image", "256")
  .option("--uplink <Mbit>", "rate of the way to the registry", "200")
  .option("--lan <Mbit>", "rate of each machine's link", "1000")
  .option("--rounds <n>", "how often it is measured", "3")
  .option("--json", "print one JSON object");
command.parse();
const options = command.opts<Record<string, string> & { json?: boolean }>();
const scenario = SCENARIOS[command.args[0] ?? ""];
if (scenario === undefined)
  command.error(`no such scenario; choose ${Object.keys(SCENARIOS).join(" or ")}`);
const reason = await prepareLab(["ip", "nsenter", "sysctl", "curl", "docker-registry", "skopeo"]);
if (reason !== undefined) command.error(`the bench can't run here: ${reason}`);
const result = await scenario!({
  nodes: Number(options["nodes"]),
  sizeMib: Number(options["size"]),
  uplinkMbit: Number(options["uplink"]),
  lanMbit: Number(options["lan"]),
  rounds: Number(options["rounds"]),
});
console.log(options.json === true ? JSON.stringify(result) : table(result));
process.exit();
