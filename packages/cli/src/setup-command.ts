import { CodedError } from "@shoal/api";
import type { Command } from "commander";
import { EXIT } from "./exit-codes.ts";
import { diffLines } from "./setup/diff.ts";
import { createMachineFiles } from "./setup/machine-files.ts";
import { type EngineName, ENGINES, PUBLIC_REGISTRIES } from "./setup/plan.ts";
import { type SetupResult, setUp } from "./setup/setup.ts";
import { undo } from "./setup/undo.ts";
import type { Terminal } from "./terminal.ts";
import { printable } from "./text.ts";

/** Where a daemon that was told nothing has its mirror. */
const DEFAULT_MIRROR = "127.0.0.1:5055";

interface SetupOptions {
  readonly mirror: string;
  readonly registry?: readonly string[];
  readonly dryRun?: boolean;
  readonly undo?: boolean;
  readonly root: string;
  readonly json?: boolean;
}

/** Adds what is the set-up's own to the command `setup`. */
export function addSetup(
  setup: Command,
  { terminal, exit }: { readonly terminal: Terminal; readonly exit: (code: number) => void },
): void {
  setup
    .argument("<engine>", ENGINES.join(", "))
    .option("--json", "print JSON, for programs")
    .option("--dry-run", "show the change, write nothing")
    .option("--undo", "put the files back as they were")
    .option("--mirror <host:port>", "the mirror, as the engine reaches it", DEFAULT_MIRROR)
    .option(
      "--registry <host>",
      "podman, crio and buildkit name each registry: one more; may be repeated",
      (host: string, hosts: readonly string[] | undefined) => [...(hosts ?? []), host],
    )
    .option("--root <folder>", "the folder that stands for /, for a machine's image", "/")
    .addHelpText(
      "after",
      `\nExamples:\n  shoal setup docker --dry-run\n  sudo shoal setup containerd\n  sudo shoal setup podman --registry registry.lan:5000\n  sudo shoal setup docker --undo\n\nWhat is there stays: the mirror is written beside it, and a file that is changed is kept as\nFILE.before-shoal. No engine is restarted: the command for it is told. Without --registry, engines\nthat name each one get ${PUBLIC_REGISTRIES.slice(0, 4).join(", ")},\n${PUBLIC_REGISTRIES.slice(4).join(", ")}.`,
    )
    .action(async (name: string, options: SetupOptions) => {
      const engine = parseEngine(name);
      checkOptions(engine, options);
      const files = createMachineFiles(options.root);
      const dryRun = options.dryRun === true;
      const result =
        options.undo === true
          ? await undo(files, engine, dryRun)
          : await setUp(files, {
              engine,
              mirror: options.mirror,
              registries: [...PUBLIC_REGISTRIES, ...(options.registry ?? [])],
              dryRun,
            });
      if (options.json === true) terminal.out(`${JSON.stringify(result)}\n`);
      else for (const line of setupLines(result)) terminal.out(`${printable(line)}\n`);
      if (result.state === "partly-undone")
        throw new CodedError("ERR_SETUP_EDITED", result.notes.join("\n"));
      exit(EXIT.ok);
    });
}

function parseEngine(name: string): EngineName {
  const engine = ENGINES.find((one) => one === name);
  if (engine === undefined)
    throw usage(`there is no engine ${JSON.stringify(name)}: ${ENGINES.join(", ")}`);
  return engine;
}

function checkOptions(engine: EngineName, { mirror, registry = [] }: SetupOptions): void {
  if (!/^(\[[0-9a-f:]+\]|[a-z0-9.-]+):[0-9]{1,5}$/i.test(mirror))
    throw usage(`${JSON.stringify(mirror)} is no mirror: write host:port, as in ${DEFAULT_MIRROR}`);
  const takesRegistries = engine === "podman" || engine === "crio" || engine === "buildkit";
  if (registry.length > 0 && !takesRegistries)
    throw usage(`${engine} takes no --registry: what is set up holds for all that it can mirror`);
  const wrong = registry.find((host) => !/^[a-z0-9.-]+(:[0-9]{1,5})?$/i.test(host));
  if (wrong !== undefined)
    throw usage(
      `${JSON.stringify(wrong)} is no registry: write its host, with :PORT if it has one`,
    );
}

function usage(message: string): CodedError<"ERR_USAGE"> {
  return new CodedError("ERR_USAGE", message);
}

const OUTCOMES: Readonly<Record<SetupResult["state"], string>> = {
  written: "set up",
  unchanged: "nothing to change",
  "dry-run": "dry run: nothing was written",
  undone: "undone",
  "partly-undone": "undone in part",
};

function setupLines(result: SetupResult): readonly string[] {
  const lines: string[] = [];
  for (const { path, before, after, backup } of result.files) {
    const what = before === null ? "new" : after === null ? "removed" : "changed";
    lines.push(`${path} (${what}${backup === undefined ? "" : `, as it was: ${backup}`})`);
    lines.push(...diffLines(before, after).map((line) => `  ${line}`), "");
  }
  lines.push(`${result.engine}: ${OUTCOMES[result.state]}`);
  if (result.apply !== undefined) lines.push(`To make it hold: ${result.apply}`);
  if (result.state !== "partly-undone") lines.push(...result.notes);
  return lines;
}
