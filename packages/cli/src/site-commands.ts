import type { Member, MemberList } from "@shoal/api";
import type { Command } from "commander";
import type { CommandTools, CommonOptions } from "./command-tools.ts";
import { table, wrap } from "./format.ts";
import { plain } from "./text.ts";
import { peerLines } from "./views.ts";

const SHORT_ID = 8;

/** Adds the commands about who belongs to the site. */
export function addSiteCommands(tools: CommandTools): void {
  const { command, subcommand, withClient, print, terminal, signal } = tools;

  command("peers", "List the other machines of the site, and how they behave", [
    "shoal peers",
  ]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const peers = await client.peers({ signal });
        print(peers, options, () => peerLines(peers, terminal.columns, terminal.now()));
      }),
  );

  command("members", "List who belongs to the site: name, role, certificate", [
    "shoal members",
  ]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const members = await client.site.members({ signal });
        print(members, options, () => memberLines(members, terminal.columns));
      }),
  );

  command("revoke", "Put a member out of the site, on all machines", [
    "shoal revoke machine-7",
    "shoal revoke 12D3KooW…",
  ])
    .argument("<member>", "its name or peer id, as `shoal members` shows it")
    .addHelpText(
      "after",
      "\nRun it on a machine that has the site key. Members that are up cut it off within seconds, the others\nwhen they are back. It comes back only with a new join token. While the site's token still admits, who\nknows that can come back under another identity: see `shoal site end-token`.",
    )
    .action(
      async (member: string, options: CommonOptions) =>
        await withClient(options, async (client) => {
          const revoked = await client.site.revoke({ member }, { signal });
          print(revoked, options, () => [`revoked ${plain(revoked.name ?? revoked.peer)}`]);
        }),
    );

  const site = command("site", "Make the site key, or end the site's token", [
    "shoal site init",
    "shoal site end-token",
  ]);
  subcommand(site, "init", "Make the site key on this machine; without a site, make one first", [
    "shoal site init",
    "shoal site init --name store-1",
  ])
    .option("--name <name>", "this machine's name in the site (default: its host's name)")
    .addHelpText(
      "after",
      "\nThe site's token goes on admitting until `shoal site end-token`. Until then, give the other machines\ncertificates: `shoal token create` here, `shoal join` there. Where a copy of the site's key is in this\nmachine's state folder already, the machine becomes an issuer too.",
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
  subcommand(site, "end-token", "End the site's token, so that only certificates admit", [
    "shoal site end-token",
    "shoal site end-token --force",
  ])
    .option("--force", "even if that puts out members that are up")
    .addHelpText(
      "after",
      "\nRun it on a machine that has the site key. It can't be taken back: machines without a certificate need\na join token from then on.",
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
