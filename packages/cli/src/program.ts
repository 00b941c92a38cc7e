import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ApiClient,
  CodedError,
  createApiClient,
  defaultSocketPath,
  hasCode,
} from "@shoal/api";
import { Command } from "commander";
import {
  exitCodeOfVerdict,
  newestRecords,
  recordLines,
  verdictLines,
  verifyAudit,
} from "./audit-command.ts";
import { doctorLines, examine } from "./doctor-command.ts";
import { EXIT, EXIT_HELP } from "./exit-codes.ts";
import { parseLimitsChange } from "./limits-command.ts";
import { pullCommand } from "./pull-command.ts";
import { addSetup } from "./setup-command.ts";
import { addSiteCommands } from "./site-commands.ts";
import { addStoreCommands, type CommandTools } from "./store-commands.ts";
import type { Terminal } from "./terminal.ts";
import { readToken, type TokenInput } from "./token-input.ts";
import {
  imageLines,
  joinLines,
  limitLines,
  peerLines,
  pullListLines,
  statusLines,
} from "./views.ts";

export interface ProgramContext {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly stdin: TokenInput["stdin"];
  /** Whether wrong usage is told as JSON; it is found before the options are parsed. */
  readonly json: boolean;
  readonly interrupted: AbortSignal;
  /** Called with the exit code of a command that has run. */
  readonly exit: (code: number) => void;
}

interface CommonOptions {
  readonly socket?: string;
  readonly json?: boolean;
}

const { version } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
) as { version: string };

function usageError(text: string, json: boolean): string {
  const message = `${text.trim().replace(/^error: /, "")}; run with --help to see how it is used`;
  return json
    ? `${JSON.stringify({ error: { code: "ERR_USAGE", message } })}\n`
    : `error [ERR_USAGE]: ${message}\n`;
}

/** The `shoal` command. Failures of its actions are thrown. */
export function createProgram(context: ProgramContext): Command {
  const { terminal } = context;

  async function withClient(
    options: CommonOptions,
    work: (client: ApiClient) => Promise<number | void>,
  ): Promise<void> {
    const socketPath = options.socket ?? defaultSocketPath(context.env, context.uid);
    await using client = createApiClient({ socketPath });
    context.exit((await work(client)) ?? EXIT.ok);
  }

  function print(value: unknown, options: CommonOptions, lines: () => readonly string[]): void {
    if (options.json === true) terminal.out(`${JSON.stringify(value)}\n`);
    else for (const line of lines()) terminal.out(`${line}\n`);
  }

  const signal = context.interrupted;

  /** The id that begins with `start`; `start` itself when the daemon shall say that there is none. */
  async function wholeId(client: ApiClient, start: string): Promise<string> {
    const ids = (await client.pulls({ signal })).map(({ id }) => id);
    if (ids.includes(start)) return start;
    const found = ids.filter((id) => id.startsWith(start));
    if (found.length > 1)
      throw new CodedError(
        "ERR_USAGE",
        `${found.length} pulls begin with ${start}: ${found.join(", ")}; write more of the one you mean`,
      );
    return found[0] ?? start;
  }

  const program = new Command("shoal")
    .description(
      "Talks to this machine's Shoal daemon: pull images, see peers, join a site, set up engines.",
    )
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      outputError: (text, write) => write(usageError(text, context.json)),
    })
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText(
      "after",
      `${EXIT_HELP}\n\nExamples:\n  shoal pull alpine\n  shoal peers\n  sudo shoal setup docker\n  shoal token | ssh other-machine shoal join`,
    );

  const subcommand: CommandTools["subcommand"] = (parent, name, description, examples) =>
    parent
      .command(name)
      .description(description)
      .option("--json", "print JSON, for programs")
      .option("--socket <path>", "the daemon's Unix socket, $SHOAL_SOCKET")
      .addHelpText("after", `\nExamples:\n${examples.map((example) => `  ${example}`).join("\n")}`);
  const command: CommandTools["command"] = (name, description, examples) =>
    subcommand(program, name, description, examples);

  command("pull", "Pull an image into the daemon's store", [
    "shoal pull alpine",
    "shoal pull ghcr.io/org/app:v2 --platform linux/arm64",
    "shoal pull registry.lan:5000/app@sha256:… --json",
  ])
    .argument("<reference>", "image: [registry/]name[:tag][@digest]")
    .option("--platform <platform>", "os/architecture[/variant] (default: this machine's)")
    .option("--all-platforms", "everything that the image's index lists")
    .option("-q, --quiet", "print the digest only")
    .option("-d, --detach", "print the pull's id and leave it to the daemon")
    .addHelpText(
      "after",
      "\nWith --json every change of the pull is a line on standard output. The last line of one that fails\nhas the state failed and the error, which is told on standard error besides.",
    )
    .action(
      async (
        reference: string,
        options: CommonOptions & {
          platform?: string;
          allPlatforms?: boolean;
          quiet?: boolean;
          detach?: boolean;
        },
      ) => {
        if (options.allPlatforms === true && options.platform !== undefined)
          throw new CodedError("ERR_USAGE", "choose one of --platform and --all-platforms");
        await withClient(
          options,
          async (client) =>
            await pullCommand(client, terminal, {
              reference,
              platform: options.allPlatforms === true ? "all" : options.platform,
              json: options.json === true,
              quiet: options.quiet === true,
              detach: options.detach === true,
              interrupted: context.interrupted,
            }),
        );
      },
    );

  command("status", "Show what the daemon does and has", [
    "shoal status",
    "shoal status --json",
  ]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const status = await client.status({ signal });
        print(status, options, () => statusLines(status, terminal.columns, terminal.now()));
      }),
  );

  command("peers", "List the members of the site", ["shoal peers"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const peers = await client.peers({ signal });
        print(peers, options, () => peerLines(peers, terminal.columns, terminal.now()));
      }),
  );

  command("images", "List the images that were pulled by name", ["shoal images"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const images = await client.images({ signal });
        print({ images }, options, () => imageLines(images, terminal.columns));
      }),
  );

  command("pulls", "List pulls under way and lately finished", ["shoal pulls"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const pulls = await client.pulls({ signal });
        print({ pulls }, options, () => pullListLines(pulls, terminal.columns, terminal.now()));
      }),
  );

  command("cancel", "Cancel a pull; what has arrived is kept for the next one", ["shoal cancel ID"])
    .argument("<id>", "the pull's id, or its beginning, as `shoal pulls` shows it")
    .action(
      async (id: string, options: CommonOptions) =>
        await withClient(options, async (client) => {
          const whole = await wholeId(client, id);
          await client.cancelPull(whole, { signal });
          print({ cancelled: whole }, options, () => [`cancelled ${id}`]);
        }),
    );

  const tools = { command, subcommand, withClient, print, terminal, signal };
  addStoreCommands(tools);

  command("limits", "Show limits of rates and requests, or set them", [
    "shoal limits",
    "shoal limits set uplink=20Mbit connections=8",
    "shoal limits set uplink=none lan-upload=40MB",
  ])
    .argument("[set]", "set: change what follows")
    .argument(
      "[name=value...]",
      "uplink=RATE, connections=NUMBER, lan-upload=RATE; none for no limit",
    )
    .addHelpText(
      "after",
      "\nuplink and connections hold for the whole site at once, lan-upload for this machine's sending to\nmembers. They last until the daemons stop; for good, set uplink.limit, uplink.connections and\nlan.uploadLimit in the configuration. A rate is a second's: 20Mbit, 2.5MB, 512KiB.",
    )
    .action(async (verb: string | undefined, settings: string[], options: CommonOptions) => {
      if (verb !== undefined && verb !== "set")
        throw new CodedError("ERR_USAGE", "write `shoal limits`, or `shoal limits set NAME=VALUE`");
      const change = verb === undefined ? undefined : parseLimitsChange(settings);
      await withClient(options, async (client) => {
        const limits = await (change === undefined
          ? client.limits({ signal })
          : client.setLimits(change, { signal }));
        print(limits, options, () => limitLines(limits, terminal.columns, terminal.now()));
      });
    });

  const tokenCommand = command(
    "token",
    "Print the site's token, making a site of this machine if it has none",
    ["shoal token", "shoal token | ssh other-machine shoal join", "shoal token create"],
  ).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const token = await client.token({ signal });
        print({ token }, options, () => [token]);
        if (terminal.isLive && options.json !== true)
          terminal.err("keep it secret: whoever has it can join the site with `shoal join`\n");
      }),
  );

  addSiteCommands(tools, tokenCommand);

  command("join", "Join the site of a token or join token, read from standard input", [
    "shoal join",
    "shoal join < token-file",
    "ssh member shoal token | shoal join --replace",
    "SHOAL_TOKEN_FILE=/run/secrets/site shoal join < /dev/null",
  ])
    .option("--name <name>", "what it is called, with a join token (default: its host's name)")
    .option("--replace", "leave the site that this machine is in; its token is forgotten here")
    .allowExcessArguments(true)
    // So that `--token=…` comes to the answer below, and is not repeated in an error.
    .allowUnknownOption(true)
    .addHelpText(
      "after",
      "\nThe token is read from standard input if anything is piped in, else from $SHOAL_TOKEN_FILE or\n$SHOAL_TOKEN, else asked for, and not shown. It is never taken from the command line, where every\nuser of the machine can see it. The output of `shoal token --json` will do as well.",
    )
    .action(
      async (options: CommonOptions & { replace?: boolean; name?: string }, join: Command) => {
        if (join.args.length > 0)
          throw new CodedError(
            "ERR_USAGE",
            "join takes no arguments: a token on the command line can be seen by every user, and is in the shell's history now: remove it there, and give it on standard input, as in `shoal join < file`",
          );
        const { text: token, source } = await readToken({
          env: context.env,
          stdin: context.stdin,
          tell: (text) => terminal.err(text),
        });
        await withClient(options, async (client) => {
          const request = {
            token,
            ...(options.name === undefined ? {} : { name: options.name }),
            ...(options.replace === true ? { replace: true } : {}),
          };
          const joined = await client.join(request, { signal }).catch((error: unknown) => {
            if (!hasCode(error, "ERR_TOKEN_INVALID")) throw error;
            throw new CodedError(error.code, `${source}: ${error.message}`, { cause: error });
          });
          print(joined, options, () => joinLines(joined));
        });
      },
    );

  command("doctor", "Check that pulls go through Shoal, and what keeps them from it", [
    "shoal doctor",
    "sudo shoal doctor --json",
  ])
    .option("--root <folder>", "the folder that stands for / where engines' files are", "/")
    .addHelpText(
      "after",
      "\n✓ is right, ! is to be looked at, ✗ is wrong, – can't be told; → is what to do. It exits with 1 when\nanything is wrong. It asks a registry for the time, and members' ports for an answer.",
    )
    .action(
      async (options: CommonOptions & { root: string }) =>
        await withClient(options, async (client) => {
          const { env } = context;
          const checks = await examine(client, { terminal, env, root: options.root, signal });
          print({ checks }, options, () => doctorLines(checks, terminal.columns));
          return checks.some(({ state }) => state === "failed") ? EXIT.failed : EXIT.ok;
        }),
    );

  /** The log that is meant: the daemon's own where none is named. */
  async function auditPaths(paths: string[], options: CommonOptions): Promise<string[]> {
    if (paths.length > 0) return paths;
    const socketPath = options.socket ?? defaultSocketPath(context.env, context.uid);
    await using client = createApiClient({ socketPath });
    try {
      const { audit, stateFolder } = await client.status({ signal });
      return [audit?.folder ?? join(stateFolder, "audit")];
    } catch (error) {
      if (!hasCode(error, "ERR_DAEMON_UNREACHABLE")) throw error;
      const hint = "without a daemon, name the log: shoal audit verify /var/lib/shoal/audit";
      throw new CodedError(error.code, `${error.message}; ${hint}`, { cause: error });
    }
  }

  command("audit", "Verify the audit log, or show its newest records", [
    "sudo shoal audit verify",
    "sudo shoal audit show --kind deny --lines 50",
    "shoal audit verify backup/audit.jsonl.2 backup/audit.jsonl.1 --json",
  ])
    .argument("<verb>", "verify: is each record as it was written? show: print records")
    .argument("[path...]", "its files, or the folder of them (default: the daemon's)")
    .option("--lines <count>", "show: so many of the newest", "20")
    .option("--kind <kind>", "show: of one kind only: pull, serve, deny, …")
    .addHelpText(
      "after",
      "\nverify exits with 0 when every record follows from the one before, and with 1 when one was changed,\nis missing or is out of its place. A line that a crash has torn is noted, and is no fault. docs/audit.md\ntells what is recorded, and what the chain can't show.",
    )
    .action(
      async (
        verb: string,
        paths: string[],
        options: CommonOptions & { lines: string; kind?: string },
      ) => {
        if (verb === "verify") {
          const verdict = await verifyAudit(await auditPaths(paths, options));
          print(verdict, options, () => verdictLines(verdict, terminal.columns));
          context.exit(exitCodeOfVerdict(verdict));
          return;
        }
        const lines = Number(options.lines);
        if (verb !== "show" || !Number.isSafeInteger(lines) || lines < 1)
          throw new CodedError(
            "ERR_USAGE",
            "write `shoal audit verify [path...]`, or `shoal audit show --lines COUNT [path...]`",
          );
        const named = await auditPaths(paths, options);
        const records = await newestRecords(named, { lines, kind: options.kind });
        print({ records }, options, () => recordLines(records));
        context.exit(EXIT.ok);
      },
    );

  addSetup(
    program.command("setup").description("Make a container engine pull through Shoal"),
    context,
  );

  return program;
}
