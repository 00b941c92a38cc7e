import { readFileSync } from "node:fs";
import { Command } from "commander";
import { addAuditCommand } from "./audit-command.ts";
import { type CommandContext, type CommonOptions, createCommandTools } from "./command-tools.ts";
import { addDoctorCommand } from "./doctor-command.ts";
import { EXIT_HELP } from "./exit-codes.ts";
import { addJoinCommands } from "./join-commands.ts";
import { addLimitsCommand } from "./limits-command.ts";
import { addPullCommands } from "./pull-commands.ts";
import { addSetupCommand } from "./setup-command.ts";
import { addSiteCommands } from "./site-commands.ts";
import { addStoreCommands } from "./store-commands.ts";
import type { TokenInput } from "./token-input.ts";
import { statusLines } from "./views.ts";

export interface ProgramContext extends CommandContext {
  readonly stdin: TokenInput["stdin"];
  /** Whether wrong usage is told as JSON; it is found before the options are parsed. */
  readonly json: boolean;
}

const { version } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
) as { version: string };

/** The `shoal` command. Failures of its actions are thrown. */
export function createProgram(context: ProgramContext): Command {
  const { terminal } = context;
  const program = new Command("shoal")
    .description(
      "Talks to this machine's Shoal daemon: pull images, see peers, join a site, set up engines.",
    )
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      outputError: (text, write) => write(parsingError(text, context.json)),
    })
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText(
      "after",
      `${EXIT_HELP}\n\nExamples:\n  shoal pull alpine\n  shoal peers\n  sudo shoal setup docker\n  shoal token | ssh other-machine shoal join`,
    );
  const tools = createCommandTools(program, context);
  const { command, withClient, print, signal } = tools;

  program.commandsGroup("Images:");
  addPullCommands(tools);

  program.commandsGroup("This machine:");
  addSetupCommand(program, context);
  addDoctorCommand(tools);
  command("status", "Show addresses, site, store, traffic and registries", [
    "shoal status",
    "shoal status --json",
  ]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const status = await client.status({ signal });
        print(status, options, () => statusLines(status, terminal.columns, terminal.now()));
      }),
  );
  addLimitsCommand(tools);
  addAuditCommand(tools);

  program.commandsGroup("Site:");
  addJoinCommands(tools, context.stdin);
  addSiteCommands(tools);

  program.commandsGroup("Store:");
  addStoreCommands(tools);

  return program;
}

/** What the parser found wrong. */
function parsingError(text: string, json: boolean): string {
  const message = `${text.trim().replace(/^error: /, "")}; run with --help to see how it is used`;
  return json
    ? `${JSON.stringify({ error: { code: "ERR_USAGE", message } })}\n`
    : `error [ERR_USAGE]: ${message}\n`;
}
