import { type LimitsChange, parseRate } from "@shoal/api";
import { type CommandTools, type CommonOptions, usageError } from "./command-tools.ts";
import { limitLines } from "./views.ts";

/** Adds the command that shows and sets limits. */
export function addLimitsCommand(tools: CommandTools): void {
  const { command, withClient, print, terminal, signal } = tools;

  command("limits", "Show or set limits on the uplink and on sending to members", [
    "shoal limits",
    "shoal limits set uplink=20Mbit connections=8",
    "shoal limits set uplink=none lan-upload=40MB",
  ])
    .argument("[set]", "the word set: change what follows it")
    .argument(
      "[name=value...]",
      "uplink=RATE, connections=NUMBER, lan-upload=RATE; none for no limit",
    )
    .addHelpText(
      "after",
      "\nuplink and connections are about registries, and hold for the whole site at once; lan-upload is about\nwhat this machine sends to members. A RATE is per second: 20Mbit, 2.5MB, 512KiB. They hold until the\ndaemons stop; to keep them, set uplink.limit, uplink.connections and lan.uploadLimit in the\nconfiguration.",
    )
    .action(async (verb: string | undefined, settings: string[], options: CommonOptions) => {
      if (verb !== undefined && verb !== "set")
        throw usageError("write `shoal limits`, or `shoal limits set NAME=VALUE`");
      const change = verb === undefined ? undefined : parseLimitsChange(settings);
      await withClient(options, async (client) => {
        const limits = await (change === undefined
          ? client.limits({ signal })
          : client.setLimits(change, { signal }));
        print(limits, options, () => limitLines(limits, terminal.columns, terminal.now()));
      });
    });
}

/** The change that `NAME=VALUE` arguments ask for. @throws ERR_USAGE */
export function parseLimitsChange(settings: readonly string[]): LimitsChange {
  if (settings.length === 0)
    throw usageError("nothing to set: write for example `shoal limits set uplink=20Mbit`");
  const change: LimitsChange = {};
  for (const setting of settings) {
    const [name, value = ""] = setting.split("=", 2);
    if (name === "uplink") change.uplinkBytesPerSecond = rateOf(setting, value);
    else if (name === "lan-upload") change.lanUploadBytesPerSecond = rateOf(setting, value);
    else if (name === "connections") change.uplinkConnections = countOf(setting, value);
    else
      throw usageError(
        `there is no limit ${JSON.stringify(name)}: uplink, connections, lan-upload`,
      );
  }
  return change;
}

function rateOf(setting: string, value: string): number | null {
  const rate = parseRate(value);
  if (rate === undefined)
    throw usageError(
      `${JSON.stringify(setting)} has no rate: write 20Mbit, 2.5MB (a second) or none`,
    );
  return rate;
}

function countOf(setting: string, value: string): number | null {
  if (value === "none") return null;
  if (/^[1-9]\d{0,5}$/.test(value)) return Number(value);
  throw usageError(`${JSON.stringify(setting)} has no number: write for example 8, or none`);
}
