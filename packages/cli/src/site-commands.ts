import { CodedError, type JoinTokenMade, type Member, type MemberList } from "@shoal/api";
import type { Command } from "commander";
import { formatCount, table, wrap } from "./format.ts";
import type { CommandTools } from "./store-commands.ts";
import { plain } from "./text.ts";

interface CommonOptions {
  readonly socket?: string;
  readonly json?: boolean;
}

const SHORT_ID = 8;
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Adds the commands about who belongs to the site. @param token the command that they add one to */
export function addSiteCommands(tools: CommandTools, token: Command): void {
  const { command, subcommand, withClient, print, terminal, signal } = tools;

  subcommand(token, "create", "Make a join token, by which machines get certificates", [
    "shoal token create",
    "shoal token create --uses 20 --ttl 2h",
    "shoal token create | ssh other-machine shoal join",
  ])
    .option("--uses <number>", "how many machines may join with it", "1")
    .option("--ttl <duration>", "how long it is good: 30m, 2h, 7d", "24h")
    .addHelpText(
      "after",
      "\nOn a machine that has the site key (see `shoal site init`). The token is shown this once: what is kept\nof it can only check it. A machine that asks again is counted once.",
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

  command("members", "List who belongs to the site, by name", ["shoal members"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const members = await client.site.members({ signal });
        print(members, options, () => memberLines(members, terminal.columns));
      }),
  );

  command("revoke", "Put a member out of the site, for all members at once", [
    "shoal revoke machine-7",
    "shoal revoke 12D3KooW…",
  ])
    .argument("<member>", "its name or peer id, as `shoal members` shows it")
    .addHelpText(
      "after",
      "\nOn a machine that has the site key. Members that are up cut it off within seconds, the others when\nthey are back. It comes back only with a new join token. While the site's token still admits, who knows\nit can come back under another identity: see `shoal site end-token`.",
    )
    .action(
      async (member: string, options: CommonOptions) =>
        await withClient(options, async (client) => {
          const revoked = await client.site.revoke({ member }, { signal });
          print(revoked, options, () => [`revoked ${plain(revoked.name ?? revoked.peer)}`]);
        }),
    );

  const site = command("site", "Give a site a key, by which its members have certificates", [
    "shoal site init",
    "shoal site end-token",
  ]);
  subcommand(site, "init", "Make the site key on this machine, and of a machine alone a site", [
    "shoal site init",
    "shoal site init --name store-1",
  ])
    .option("--name <name>", "what this machine is called (default: its host's name)")
    .addHelpText(
      "after",
      "\nIn a site with a token, the token goes on admitting until `shoal site end-token`: give the other\nmachines certificates by `shoal token create` and `shoal join` meanwhile.\nWhere the key of the machine's site was copied to its state folder, the machine becomes an issuer too.",
    )
    .action(async (_options: unknown, self: Command) => {
      const options: CommonOptions & { name?: string } = self.optsWithGlobals();
      await withClient(options, async (client) => {
        const name = options.name === undefined ? {} : { name: options.name };
        const made = await client.site.init(name, { signal });
        print(made, options, () => [
          `site ${made.site.slice(0, SHORT_ID)} has a key, and this machine, ${plain(made.name)}, a certificate until ${made.notAfter}`,
          `keep a copy of ${plain(made.keyFile)} in a safe place: whoever has it can admit anybody`,
        ]);
      });
    });
  subcommand(site, "end-token", "Admit by certificates alone: the site's token ends", [
    "shoal site end-token",
    "shoal site end-token --force",
  ])
    .option("--force", "also where members that are up have nothing but the token")
    .addHelpText(
      "after",
      "\nOn a machine that has the site key. It can't be taken back: machines without a certificate need a\njoin token from then on.",
    )
    .action(async (_options: unknown, self: Command) => {
      const options: CommonOptions & { force?: boolean } = self.optsWithGlobals();
      await withClient(options, async (client) => {
        const force = options.force === true ? { force: true } : {};
        const ended = await client.site.endToken(force, { signal });
        print(ended, options, () => [
          `the token of site ${ended.site.slice(0, SHORT_ID)} admits nobody any more`,
        ]);
      });
    });
}

function tokenNote({ uses, expiresAt }: JoinTokenMade): string {
  return `for ${formatCount(uses, "machine")} until ${expiresAt}; it is not shown again\n`;
}

function memberLines(list: MemberList, columns: number): string[] {
  const { self, keyed, tokenEndedAt, site } = list;
  if (site === undefined)
    return ["this machine is in no site: run `shoal token` or `shoal site init`"];
  const rows = list.members.map((member) => [
    stateOf(member),
    member.name ?? "-",
    member.roles.join(", ") || (member.revokedAt === undefined ? "by the token" : ""),
    member.notAfter?.slice(0, 16).replace("T", " ") ?? "",
    member.peer === self ? `${member.peer} (this machine)` : member.peer,
  ]);
  const head = ["STATE", "NAME", "ROLES", "UNTIL", "PEER"];
  const lines = table(
    [head, ...rows].map((row) => row.map(plain)),
    columns,
    [3],
  );
  const admission = !keyed
    ? "the token admits: `shoal site init` gives the site a key, and its members names"
    : tokenEndedAt === undefined
      ? "certificates admit, and still the token; `shoal site end-token` ends that"
      : `only certificates admit, since ${tokenEndedAt}`;
  return [...lines, ...wrap(plain(`site ${site.slice(0, SHORT_ID)}: ${admission}`), columns)];
}

function stateOf({ state, revokedAt }: Member): string {
  return revokedAt === undefined ? state : "revoked";
}

function countOf(text: string): number {
  if (/^[1-9][0-9]{0,3}$/.test(text) && Number(text) <= 1000) return Number(text);
  throw new CodedError("ERR_USAGE", `${JSON.stringify(text)} is no number from 1 to 1000`);
}

function secondsOf(text: string): number {
  const match = /^([1-9][0-9]{0,6})([smhd])$/.exec(text);
  const seconds = match === null ? Number.NaN : Number(match[1]) * UNIT_SECONDS[match[2]!]!;
  if (seconds <= 30 * 86_400) return seconds;
  throw new CodedError(
    "ERR_USAGE",
    `${JSON.stringify(text)} is no duration up to 30 days: write for example 30m, 2h or 7d`,
  );
}
