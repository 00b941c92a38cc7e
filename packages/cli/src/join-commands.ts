import { CodedError, hasCode, type JoinTokenMade } from "@shoal/api";
import type { Command } from "commander";
import { type CommandTools, type CommonOptions, usageError } from "./command-tools.ts";
import { formatCount } from "./format.ts";
import { readToken, type TokenInput } from "./token-input.ts";
import { joinLines } from "./views.ts";

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Adds the commands by which machines come into a site. */
export function addJoinCommands(tools: CommandTools, stdin: TokenInput["stdin"]): void {
  const { command, subcommand, withClient, print, terminal, env, signal } = tools;

  const token = command("token", "Print the site's token; without a site, make one first", [
    "shoal token",
    "shoal token | ssh other-machine shoal join",
    "shoal token create",
  ]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const text = await client.token({ signal });
        print({ token: text }, options, () => [text]);
        if (terminal.isLive && options.json !== true)
          terminal.err("keep it secret: whoever has it can join the site with `shoal join`\n");
      }),
  );

  subcommand(token, "create", "Make a join token: machines that join with it get certificates", [
    "shoal token create",
    "shoal token create --uses 20 --ttl 2h",
    "shoal token create | ssh other-machine shoal join",
  ])
    .option("--uses <number>", "how many machines may join with it", "1")
    .option("--ttl <duration>", "how long it is good: 30m, 2h, 7d", "24h")
    .addHelpText(
      "after",
      "\nRun it on a machine that has the site key (see `shoal site init`). The token is shown this once, and\ncan't be shown again. A machine that joins again counts once.",
    )
    .action(async (_options: unknown, self: Command) => {
      const options: CommonOptions & { uses: string; ttl: string } = self.optsWithGlobals();
      const request = { uses: countOf(options.uses), ttlSeconds: secondsOf(options.ttl) };
      await withClient(options, async (client) => {
        const made = await client.site.createToken(request, { signal });
        print(made, options, () => [made.token]);
        if (terminal.isLive && options.json !== true) terminal.err(tokenNote(made));
      });
    });

  command("join", "Join a site, by a token from standard input", [
    "shoal join",
    "shoal join < token-file",
    "ssh member shoal token | shoal join --replace",
    "SHOAL_TOKEN_FILE=/run/secrets/site shoal join < /dev/null",
  ])
    .option("--name <name>", "this machine's name, with a join token (default: its host's name)")
    .option("--replace", "leave the site that this machine is in; its token is forgotten here")
    .allowExcessArguments(true)
    // So that `--token=…` comes to the answer below, and is not repeated in an error.
    .allowUnknownOption(true)
    .addHelpText(
      "after",
      "\nIt takes the site's token (`shoal token`) or a join token (`shoal token create`): what is piped in, else\n$SHOAL_TOKEN_FILE, else $SHOAL_TOKEN; else it asks, and shows nothing of what is typed. It takes none\nfrom the command line, where every user of the machine can see it. The output of\n`shoal token --json` will do as well.",
    )
    .action(
      async (options: CommonOptions & { replace?: boolean; name?: string }, join: Command) => {
        if (join.args.length > 0)
          throw usageError(
            "join takes no arguments: a token on the command line can be seen by every user, and is in the shell's history now: remove it there, and give it on standard input, as in `shoal join < file`",
          );
        const { text, source } = await readToken({
          env,
          stdin,
          tell: (line) => terminal.err(line),
        });
        await withClient(options, async (client) => {
          const request = {
            token: text,
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
}

function tokenNote({ uses, expiresAt }: JoinTokenMade): string {
  return `for ${formatCount(uses, "machine")} until ${expiresAt}; it is not shown again\n`;
}

function countOf(text: string): number {
  if (/^[1-9][0-9]{0,3}$/.test(text) && Number(text) <= 1000) return Number(text);
  throw usageError(`${JSON.stringify(text)} is no number from 1 to 1000`);
}

function secondsOf(text: string): number {
  const match = /^([1-9][0-9]{0,6})([smhd])$/.exec(text);
  const seconds = match === null ? Number.NaN : Number(match[1]) * UNIT_SECONDS[match[2]!]!;
  if (seconds <= 30 * 86_400) return seconds;
  throw usageError(
    `${JSON.stringify(text)} is no duration up to 30 days: write for example 30m, 2h or 7d`,
  );
}
