#!/usr/bin/env node
import { CodedError } from "@shoal/api";
import { CommanderError } from "commander";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { createProgram } from "./program.ts";
import { processTerminal } from "./terminal.ts";
import { printable } from "./text.ts";

const interrupt = new AbortController();
function stop(): void {
  if (interrupt.signal.aborted) process.exit(EXIT.interrupted);
  interrupt.abort(new CodedError("ERR_INTERRUPTED", "interrupted"));
  // Ends the wait for a token.
  process.stdin.destroy();
}
process.on("SIGINT", stop);
process.on("SIGTERM", stop);
// Whoever reads the pipe has seen enough: `shoal pulls | head`.
process.stdout.on("error", () => process.exit(EXIT.ok));

const json = process.argv.includes("--json");
const program = createProgram({
  terminal: processTerminal(),
  env: process.env,
  uid: process.getuid?.() ?? 0,
  stdin: process.stdin,
  json,
  interrupted: interrupt.signal,
  exit(code) {
    process.exitCode = code;
  },
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError)
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else if (interrupt.signal.aborted) process.exitCode = EXIT.interrupted;
  else {
    const coded =
      error instanceof CodedError
        ? error
        : new CodedError(
            "ERR_INTERNAL",
            error instanceof Error ? (error.stack ?? error.message) : String(error),
          );
    const { code, message } = coded;
    process.stderr.write(
      json
        ? `${JSON.stringify({ error: { code, message } })}\n`
        : `error [${code}]: ${printable(message)}\n`,
    );
    process.exitCode = exitCodeOf(coded);
  }
}
process.stdin.unref?.();
