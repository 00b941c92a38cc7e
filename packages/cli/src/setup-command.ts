import { CodedError } from "@shoal/api";
import type { Command } from "commander";
import { isAbsolute, normalize } from "node:path";
import { type CommandContext, usageError } from "./command-tools.ts";
import { EXIT } from "./exit-codes.ts";
import { diffLines } from "./setup/diff.ts";
import { createMachineFiles } from "./setup/machine-files.ts";
import { type EngineName, ENGINES, PUBLIC_REGISTRIES } from "./setup/plan.ts";
import { type SetupResult, setUp } from "./setup/setup.ts";
import { undo } from "./setup/undo.ts";
import { printable } from "./text.ts";

/** Where a daemon that was told nothing has its mirror. */
const DEFAULT_MIRROR = "127.0.0.1:5055";

interface SetupOptions {
  readonly mirror: string;
  readonly registry?: readonly string[];
  readonly dryRun?: boolean;
  readonly undo?: boolean;
  readonly user?: boolean;
  readonly root: string;
  readonly json?: boolean;
}

/** Adds the command that sets up engines, which asks no daemon. */
export function addSetupCommand(program: Command, context: CommandContext): void {
  const { terminal, env, uid, exit } = context;

  program
    .command("setup")
    .description("Make a container engine pull through Shoal, or undo that")
    .argument("<engine>", ENGINES.join(", "))
    .option("--json", "print JSON, for programs")
    .option("--dry-run", "show the change, write nothing")
    .option("--undo", "put the files back as they were")
    .option("--user", "podman: your own settings, not the machine's")
    .option("--mirror <host:port>", "the mirror, as the engine reaches it", DEFAULT_MIRROR)
    .option(
      "--registry <host>",
      "podman, crio, buildkit: one more registry, as they name each; may be repeated",
      (host: string, hosts: readonly string[] | undefined) => [...(hosts ?? []), host],
    )
    .option(
      "--root <folder>",
      "the folder that stands for /, to set up the image of a machine",
      "/",
    )
    .addHelpText(
      "after",
      `\nExamples:\n  shoal setup docker --dry-run\n  sudo shoal setup containerd\n  sudo shoal setup podman --registry registry.lan:5000\n  shoal setup podman --user\n  sudo shoal setup docker --undo\n\nSettings that are there stay, and the mirror is added; a file that is changed is kept as it was, as\nFILE.before-shoal. No engine is restarted: the command for that is shown. Engines that name each\nregistry always get ${PUBLIC_REGISTRIES.slice(0, 4).join(", ")},\n${PUBLIC_REGISTRIES.slice(4).join(", ")}.`,
    )
    .action(async (name: string, options: SetupOptions) => {
      const engine = parseEngine(name);
      checkOptions(engine, options);
      const files = createMachineFiles(options.root);
      const dryRun = options.dryRun === true;
      const home = options.user === true ? homeOf(engine, env, uid) : undefined;
      const result =
        options.undo === true
          ? await undo(files, engine, dryRun, home)
          : await setUp(files, {
              engine,
              mirror: options.mirror,
              registries: [...PUBLIC_REGISTRIES, ...(options.registry ?? [])],
              dryRun,
              home,
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
    throw usageError(`there is no engine ${JSON.stringify(name)}: ${ENGINES.join(", ")}`);
  return engine;
}

function checkOptions(engine: EngineName, { mirror, registry = [] }: SetupOptions): void {
  if (!/^(\[[0-9a-f:]+\]|[a-z0-9.-]+):[0-9]{1,5}$/i.test(mirror))
    throw usageError(
      `${JSON.stringify(mirror)} is no mirror: write host:port, as in ${DEFAULT_MIRROR}`,
    );
  const takesRegistries = engine === "podman" || engine === "crio" || engine === "buildkit";
  if (registry.length > 0 && !takesRegistries)
    throw usageError(
      `${engine} takes no --registry: what is set up holds for all that it can mirror`,
    );
  const wrong = registry.find((host) => !/^[a-z0-9.-]+(:[0-9]{1,5})?$/i.test(host));
  if (wrong !== undefined)
    throw usageError(
      `${JSON.stringify(wrong)} is no registry: write its host, with :PORT if it has one`,
    );
}

function homeOf(engine: EngineName, env: CommandContext["env"], uid: number): string {
  if (engine !== "podman")
    throw usageError(
      `${engine} takes no --user: only Podman, Buildah and Skopeo have settings by user`,
    );
  if (uid === 0 && env["SUDO_USER"] !== undefined)
    throw usageError("run this without sudo, as the user whose settings are meant");
  const home = env["HOME"] ?? "";
  if (!isAbsolute(home)) throw usageError("HOME has to name the user's home folder");
  return normalize(home).replace(/(?!^)\/$/, "");
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
