import { createColors } from "picocolors";
import { expect, test } from "vitest";
import { createProgram } from "../src/program.ts";
import { referencePage } from "../src/reference-page.ts";

const program = createProgram({
  terminal: {
    columns: 100,
    rows: 24,
    isLive: false,
    colors: createColors(false),
    out: () => undefined,
    err: () => undefined,
    now: () => 0,
  },
  env: {},
  uid: 0,
  stdin: (async function* () {})(),
  json: false,
  interrupted: new AbortController().signal,
  exit: () => undefined,
});

test("docs/cli.md is what the help says", async () => {
  await expect(referencePage(program)).toMatchFileSnapshot("../../../docs/cli.md");
});

test("every command has examples", () => {
  const commands = program.commands.flatMap((command) => [command, ...command.commands]);
  for (const command of commands) {
    const parent = command.parent === program ? "" : `${command.parent?.name()} `;
    expect(referencePage(program)).toContain(`shoal ${parent}${command.name()}`);
  }
  expect(referencePage(program).match(/^Examples:/gm)).toHaveLength(commands.length + 1);
});
