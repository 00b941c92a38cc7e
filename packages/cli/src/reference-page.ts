import type { Command } from "commander";

/** Wide enough that nothing in the page is wrapped by the width of whoever made it. */
const PAGE_COLUMNS = 100;

/** The page docs/cli.md, as the commands' own help tells it. */
export function referencePage(program: Command): string {
  const sections = program.commands.flatMap((command) => [
    `## shoal ${command.name()}\n\n${block(helpOf(command))}`,
    ...command.commands.map(
      (sub) => `### shoal ${command.name()} ${sub.name()}\n\n${block(helpOf(sub))}`,
    ),
  ]);
  return [
    "# The shoal command",
    "This page is the output of `--help`; `npx vitest run --config test/vitest.config.ts packages/cli -u` writes it anew.",
    block(helpOf(program)),
    ...sections,
    "",
  ]
    .join("\n\n")
    .replace(/\n+$/, "\n");
}

function block(text: string): string {
  return `\`\`\`text\n${text.trim()}\n\`\`\``;
}

/** The whole help, with the texts that are added after it. */
function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => PAGE_COLUMNS,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text;
}
