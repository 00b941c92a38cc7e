/** `npm run simulate`: the engine of every member of a site in virtual time. See docs/performance.md. */
import { type SimulationResult, simulate, type Whom } from "@shoal/swarm/testing";
import { Command } from "commander";

const MIB = 1024 * 1024;
const BYTES_PER_MBIT = 125_000;

const command = new Command("simulate")
  .description("Simulates members that pull one blob together.")
  .option("--members <n>", "machines", "50")
  .option("--size <MiB>", "size of the blob", "256")
  .option("--uplink <Mbit>", "rate of the way to the registry", "1000")
  .option("--lan <Mbit>", "rate of each machine's link", "1000")
  .option("--latency <ms>", "of a message, one way", "0.5")
  .option("--within <s>", "time within which the machines begin", "0")
  .option(
    "--kill <who@percent,…>",
    "coordinator, stand-in or a number of others, when that much has arrived on average",
  )
  .option("--slow <who@percent,…>", "whose way to the registry slows to 64 KiB/s")
  .option("--step <ms>", "how often the links' shares are worked out anew")
  .option("--seed <n>", "of everything random", "1")
  .option("--census", "count control requests by type")
  .option("--json", "print one JSON object");
command.parse();
const options = command.opts<Record<string, string | undefined> & { json?: true; census?: true }>();

function mishaps(text: string | undefined): { whom: Whom; atShare: number }[] {
  return (text ?? "")
    .split(",")
    .filter((part) => part !== "")
    .map((part) => {
      const [whom = "", percent = ""] = part.split("@");
      const named = whom === "coordinator" || whom === "stand-in";
      if (!named && !(Number(whom) > 0)) command.error(`no such member: ${whom}`);
      return { whom: named ? whom : Number(whom), atShare: Number.parseFloat(percent) / 100 };
    });
}

const startedMs = performance.now();
const result = await simulate({
  members: Number(options["members"]),
  sizeBytes: Number(options["size"]) * MIB,
  uplinkBytesPerSecond: Number(options["uplink"]) * BYTES_PER_MBIT,
  lanBytesPerSecond: Number(options["lan"]) * BYTES_PER_MBIT,
  latencyMs: Number(options["latency"]),
  withinMs: Number(options["within"]) * 1000,
  seed: Number(options["seed"]),
  kill: mishaps(options["kill"]),
  slow: mishaps(options["slow"]),
  census: options.census === true,
  ...(options["step"] === undefined ? {} : { stepMs: Number(options["step"]) }),
});
const wallSeconds = (performance.now() - startedMs) / 1000;
const maxRssBytes = process.resourceUsage().maxRSS * 1024;
if (options.json === true) console.log(JSON.stringify({ ...result, wallSeconds, maxRssBytes }));
else console.log(table(result));
process.exit();

function table(of: SimulationResult): string {
  const quantile = (share: number): string =>
    of.finishSeconds[Math.ceil(share * of.finishSeconds.length) - 1]!.toFixed(2);
  return [
    `${of.finished} members have ${(of.sizeBytes / MIB).toFixed(0)} MiB`,
    `  egress    ${of.egressRatio.toFixed(4)} × the blob, the last of it after ${of.uplinkSeconds.toFixed(2)} s`,
    `  makespan  ${of.makespanSeconds.toFixed(2)} s, half are done after ${quantile(0.5)} s, nine of ten after ${quantile(0.9)} s`,
    `  bound     ${of.boundSeconds.toFixed(2)} s`,
    `  ratio     ${of.boundRatio.toFixed(3)}`,
    `  messages  ${of.messagesMean.toFixed(0)} a member, ${of.messagesMax} at most; block requests ${of.blockRequestsMean.toFixed(0)}, refused ${of.refusedBlocksMean.toFixed(0)}`,
    ...Object.entries(of.byType).map(([type, count]) => `    ${type} ${count}`),
    `  run       ${of.events} events in ${wallSeconds.toFixed(1)} s, ${(maxRssBytes / MIB).toFixed(0)} MiB`,
  ].join("\n");
}
