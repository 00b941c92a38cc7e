import { type ApiClient, CodedError, createApiClient, defaultSocketPath } from "@shoal/api";
import type { Command } from "commander";
import { EXIT } from "./exit-codes.ts";
import type { Terminal } from "./terminal.ts";

export interface CommandContext {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly interrupted: AbortSignal;
  /** Called with the exit code of a command that has run. */
  readonly exit: (code: number) => void;
}

/** The options that every command to the daemon has. */
export interface CommonOptions {
  readonly socket?: string;
  readonly json?: boolean;
}

/** What commands are made with. */
export interface CommandTools extends Pick<CommandContext, "terminal" | "env" | "exit"> {
  readonly command: (name: string, description: string, examples: readonly string[]) => Command;
  /** A command below another, which has the common options. */
  readonly subcommand: (
    parent: Command,
    name: string,
    description: string,
    examples: readonly string[],
  ) => Command;
  readonly clientOf: (options: CommonOptions) => ApiClient;
  /** Runs a command's work, and exits with what it returns. @default 0 */
  readonly withClient: (
    options: CommonOptions,
    work: (client: ApiClient) => Promise<number | void>,
  ) => Promise<void>;
  /** Prints a command's outcome: the value for programs, the lines for people. */
  readonly print: (value: unknown, options: CommonOptions, lines: () => readonly string[]) => void;
  /** Aborts when the user interrupts. */
  readonly signal: AbortSignal;
}

export function createCommandTools(program: Command, context: CommandContext): CommandTools {
  const { terminal, env, exit } = context;

  const subcommand: CommandTools["subcommand"] = (parent, name, description, examples) =>
    parent
      .command(name)
      .description(description)
      .option("--json", "print JSON, for programs")
      .option("--socket <path>", "the daemon's Unix socket; $SHOAL_SOCKET names it too")
      .addHelpText("after", `\nExamples:\n${examples.map((example) => `  ${example}`).join("\n")}`);

  function clientOf({ socket }: CommonOptions): ApiClient {
    return createApiClient({ socketPath: socket ?? defaultSocketPath(env, context.uid) });
  }

  return {
    terminal,
    env,
    exit,
    signal: context.interrupted,
    subcommand,
    command: (name, description, examples) => subcommand(program, name, description, examples),
    clientOf,
    async withClient(options, work) {
      await using client = clientOf(options);
      exit((await work(client)) ?? EXIT.ok);
    },
    print(value, options, lines) {
      if (options.json === true) terminal.out(`${JSON.stringify(value)}\n`);
      else for (const line of lines()) terminal.out(`${line}\n`);
    },
  };
}

/** A command that was written wrong. */
export function usageError(message: string): CodedError<"ERR_USAGE"> {
  return new CodedError("ERR_USAGE", message);
}
